// Eight or sixteen blocks of Salsa20 side by side: lane n of every word belongs to block n. After D. J. Bernstein, "Salsa20
// specification". What the machine has is asked when it runs; without such vectors, XSalsa20.swift does all of it.

#include "CSalsa20.h"

#if defined(__x86_64__)
#include <immintrin.h>

// b ^= (a + d) <<< 7, and so on.
#define QUARTER(A, B, C, D) \
    B = XOR(B, ROTATE(ADD(A, D), 7)); \
    C = XOR(C, ROTATE(ADD(B, A), 9)); \
    D = XOR(D, ROTATE(ADD(C, B), 13)); \
    A = XOR(A, ROTATE(ADD(D, C), 18));

// Columns, then rows.
#define DOUBLE_ROUND(X) \
    QUARTER(X[0], X[4], X[8], X[12]) QUARTER(X[5], X[9], X[13], X[1]) \
    QUARTER(X[10], X[14], X[2], X[6]) QUARTER(X[15], X[3], X[7], X[11]) \
    QUARTER(X[0], X[1], X[2], X[3]) QUARTER(X[5], X[6], X[7], X[4]) \
    QUARTER(X[10], X[11], X[8], X[9]) QUARTER(X[15], X[12], X[13], X[14])

// One more word of the input for each lane: the counters go up from lane to lane.
static void count_lanes(const uint32_t input[16], int lanes, uint32_t *low, uint32_t *high) {
    uint64_t first = (uint64_t)input[9] << 32 | input[8];
    for (int lane = 0; lane < lanes; lane++) {
        low[lane] = (uint32_t)(first + lane);
        high[lane] = (uint32_t)((first + lane) >> 32);
    }
}

static void move_on(uint32_t input[16], int lanes) {
    uint64_t next = ((uint64_t)input[9] << 32 | input[8]) + lanes;
    input[8] = (uint32_t)next;
    input[9] = (uint32_t)(next >> 32);
}

static inline void xor_words(const unsigned char *source, unsigned char *target, __m128i stream) {
    _mm_storeu_si128((__m128i *)target, _mm_xor_si128(_mm_loadu_si128((const __m128i *)source), stream));
}

#define ADD _mm256_add_epi32
#define XOR _mm256_xor_si256
#define ROTATE(W, N) _mm256_or_si256(_mm256_slli_epi32(W, N), _mm256_srli_epi32(W, 32 - (N)))

__attribute__((target("avx2")))
static size_t xor_8(uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count) {
    size_t done = 0;
    for (; count - done >= 512; done += 512) {
        uint32_t low[8], high[8];
        count_lanes(input, 8, low, high);
        __m256i first[16], x[16];
        for (int i = 0; i < 16; i++) first[i] = _mm256_set1_epi32((int)input[i]);
        first[8] = _mm256_loadu_si256((const __m256i *)low);
        first[9] = _mm256_loadu_si256((const __m256i *)high);
        for (int i = 0; i < 16; i++) x[i] = first[i];
        for (int round = 0; round < 10; round++) { DOUBLE_ROUND(x) }
        for (int i = 0; i < 16; i++) x[i] = ADD(x[i], first[i]);
        // Four words of each block at a time.
        for (int i = 0; i < 16; i += 4) {
            __m256i ab = _mm256_unpacklo_epi32(x[i], x[i + 1]), cd = _mm256_unpacklo_epi32(x[i + 2], x[i + 3]);
            __m256i ef = _mm256_unpackhi_epi32(x[i], x[i + 1]), gh = _mm256_unpackhi_epi32(x[i + 2], x[i + 3]);
            __m256i rows[4] = {
                _mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd), _mm256_unpacklo_epi64(ef, gh), _mm256_unpackhi_epi64(ef, gh),
            };
            for (int row = 0; row < 4; row++) {
                size_t at = done + 64 * row + 4 * i;
                xor_words(source + at, target + at, _mm256_castsi256_si128(rows[row]));
                xor_words(source + at + 256, target + at + 256, _mm256_extracti128_si256(rows[row], 1));
            }
        }
        move_on(input, 8);
    }
    return done;
}

#undef ADD
#undef XOR
#undef ROTATE
#define ADD _mm512_add_epi32
#define XOR _mm512_xor_si512
#define ROTATE _mm512_rol_epi32

__attribute__((target("avx512f")))
static size_t xor_16(uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count) {
    size_t done = 0;
    for (; count - done >= 1024; done += 1024) {
        uint32_t low[16], high[16];
        count_lanes(input, 16, low, high);
        __m512i first[16], x[16];
        for (int i = 0; i < 16; i++) first[i] = _mm512_set1_epi32((int)input[i]);
        first[8] = _mm512_loadu_si512(low);
        first[9] = _mm512_loadu_si512(high);
        for (int i = 0; i < 16; i++) x[i] = first[i];
        for (int round = 0; round < 10; round++) { DOUBLE_ROUND(x) }
        for (int i = 0; i < 16; i++) x[i] = ADD(x[i], first[i]);
        for (int i = 0; i < 16; i += 4) {
            __m512i ab = _mm512_unpacklo_epi32(x[i], x[i + 1]), cd = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]);
            __m512i ef = _mm512_unpackhi_epi32(x[i], x[i + 1]), gh = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);
            __m512i rows[4] = {
                _mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd), _mm512_unpacklo_epi64(ef, gh), _mm512_unpackhi_epi64(ef, gh),
            };
            for (int row = 0; row < 4; row++) {
                size_t at = done + 64 * row + 4 * i;
                xor_words(source + at, target + at, _mm512_castsi512_si128(rows[row]));
                xor_words(source + at + 256, target + at + 256, _mm512_extracti32x4_epi32(rows[row], 1));
                xor_words(source + at + 512, target + at + 512, _mm512_extracti32x4_epi32(rows[row], 2));
                xor_words(source + at + 768, target + at + 768, _mm512_extracti32x4_epi32(rows[row], 3));
            }
        }
        move_on(input, 16);
    }
    return done;
}

size_t salsa20_xor_blocks(int blocks, uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count) {
    if (blocks == 16 && __builtin_cpu_supports("avx512f")) return xor_16(input, source, target, count);
    if (blocks == 8 && __builtin_cpu_supports("avx2")) return xor_8(input, source, target, count);
    return 0;
}

#else

size_t salsa20_xor_blocks(int blocks, uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count) {
    return 0;
}

#endif

size_t salsa20_xor_wide(uint32_t input[16], const unsigned char *source, unsigned char *target, size_t count) {
    size_t done = count >= 1024 ? salsa20_xor_blocks(16, input, source, target, count) : 0;
    return done + (count - done >= 512 ? salsa20_xor_blocks(8, input, source + done, target + done, count - done) : 0);
}
