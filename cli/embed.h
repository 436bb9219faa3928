/* Files inside the command. */
#ifndef CLI_EMBED_H
#define CLI_EMBED_H

/* The assembler reads the files, so that a model of any size costs the compiler nothing. The build gives their
 * paths. Both compilers that are supported accept this, on every ELF system. */
#if __SIZEOF_SIZE_T__ == 8
#define CLI_EMBED_SIZE ".quad"
#else
#define CLI_EMBED_SIZE ".long"
#endif

/* Defines `symbol`, an array aligned to 64 bytes, and `symbol`_size, a size_t; not terminated. To be declared in a
 * header. */
#define CLI_EMBED(symbol, file)                                                                         \
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
            ".type " #symbol "_size, %object\n" #symbol "_size:\n" CLI_EMBED_SIZE " 1b - " #symbol "\n" \
            ".size " #symbol "_size, . - " #symbol "_size\n"                                            \
            ".popsection\n")

#endif
