#include "cli/embedded.h"

/* The assembler reads the files, so that a model of any size costs the compiler nothing. The build gives their
 * paths. Both compilers that are supported accept this, on every ELF system. */
#if __SIZEOF_SIZE_T__ == 8
#define SIZE_DIRECTIVE ".quad"
#else
#define SIZE_DIRECTIVE ".long"
#endif

#define EMBED(symbol, file)                                                                             \
    __asm__(".pushsection .rodata\n"                                                                    \
            ".balign 64\n"                                                                              \
            ".globl " #symbol "\n"                                                                      \
            ".hidden " #symbol "\n"                                                                     \
            ".type " #symbol ", %object\n" #symbol ":\n"                                                \
            ".incbin \"" file "\"\n"                                                                    \
            "1:\n"                                                                                      \
            ".size " #symbol ", 1b - " #symbol "\n"                                                     \
            ".balign 8\n"                                                                               \
            ".globl " #symbol "_size\n"                                                                 \
            ".hidden " #symbol "_size\n"                                                                \
            ".type " #symbol "_size, %object\n" #symbol "_size:\n" SIZE_DIRECTIVE " 1b - " #symbol "\n" \
            ".size " #symbol "_size, . - " #symbol "_size\n"                                            \
            ".popsection\n")

EMBED(tern_embedded_fashion, TERN_FASHION);
EMBED(tern_embedded_imagenet, TERN_IMAGENET);
