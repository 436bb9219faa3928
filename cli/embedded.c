#include "cli/embedded.h"

#include "cli/embed.h"

CLI_EMBED(tern_embedded_fashion, TERN_FASHION);
CLI_EMBED(tern_embedded_imagenet, TERN_IMAGENET);
