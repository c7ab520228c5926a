#ifndef CSALSA20_H
#define CSALSA20_H

#include <stddef.h>
#include <stdint.h>

// XORs the keystream of Salsa20/20 over as many bytes as make up whole turns of this machine's widest vectors, and says how
// many those are: none where the machine has none. `input` are the sixteen words of the next block, of which words 8 and 9
// count blocks and are moved on. `target` may be `source`.
size_t salsa20_xor_wide(uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count);

// The same with vectors of so many blocks, 8 or 16, for tests; 0 if the machine has none such.
size_t salsa20_xor_blocks(int blocks, uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count);

#endif
