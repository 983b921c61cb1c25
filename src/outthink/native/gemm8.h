/* Rows times a packed matrix in 8-bit whole numbers; sums of whole numbers are exact, so no order of additions
 * could change them.
 *
 *     y_ij = s_i t_j sum_k x_ik w_jk + b_j,    x_ik = round(a_ik / s_i),    s_i = max_k |a_ik| / 127
 *
 * A panel of 64 outputs is, for every four k, 64 words: word j holds w_jk + 128 for those k, lowest first. The
 * instructions want one side unsigned; 128 sum_k x_ik is taken off at the end. */

#ifndef VNNI
/* One row in whole numbers: what it is multiplied with, their sum, and from WHOLE_HEAD bytes on the numbers. */
INLINE void whole_row(const float *a, int depth, char *line)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, ties to even */
    vf most = {0}, bad = {0};
    float tail[VL] = {0};
    const int even = depth / VL * VL;
    memcpy(tail, a + even, (depth - even) * sizeof(float));
    for (int k = 0; k < depth; k += VL) {
        vf x = load(k < even ? a + k : tail);
        most = vmax(most, (vf)((vi)x & 0x7FFFFFFF));
        bad += x * 0.0f; /* not 0 where a number is infinite or none: then the whole row becomes none */
    }
    float top = max_lanes(most), scale = (top > 1e-30f ? top : 1e-30f) / 127.0f + sum_lanes(bad);
    vi sum = {0};
    int8_t *to = (int8_t *)line + WHOLE_HEAD;
    for (int k = 0; k < depth; k += VL) {
        vi x = (vi)(load(k < even ? a + k : tail) / scale + magic) - 0x4B400000;
        vb bytes = __builtin_convertvector(x, vb);
        sum += x;
        memcpy(to + k, &bytes, VL); /* lines have room for whole vectors; what is beyond the depth is 0 */
    }
    int total = 0;
    for (int i = 0; i < VL; i++) total += sum[i];
    memcpy(line, &scale, sizeof scale);
    memcpy(line + sizeof scale, &total, sizeof total);
}

static void whole(const float *a, long lda, int rows, int depth, char *lines, long line)
{
    for (int i = 0; i < rows; i++) whole_row(a + i * lda, depth, lines + i * line);
}

#endif

#if LEVEL == 2 && !defined(VNNI)
/* Where the processor has no products of bytes, the kernels of the level below: whole sums are the same. */
static void gemm8(const Matrix *w, int mode, const char *lines, long line, int rows, float *out, long ldo, int first,
                  int last)
{
    if (__builtin_cpu_supports("avx512vnni")) gemm8_vnni(w, mode, lines, line, rows, out, ldo, first, last);
    else kernels_avx2.gemm8(w, mode, lines, line, rows, out, ldo, first, last);
}
#else

typedef int16_t vs __attribute__((vector_size(4 * VL)));

#if LEVEL == 2
#define OFFSET 128
INLINE vi dot4(vi sum, vu w, vu x) { return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x); }
#elif LEVEL == 1
#define OFFSET 128
/* Even and odd bytes apart, as 16 bits: the products of bytes themselves would not hold two of them. */
INLINE vi dot4(vi sum, vu w, vu x)
{
    vu even = w & 0x00FF00FFu, odd = (vu)((w >> 8) & 0x00FF00FFu);
    vs low = ((vs)x << 8) >> 8, high = (vs)x >> 8;
    sum += (vi)_mm256_madd_epi16((__m256i)even, (__m256i)low);
    return sum + (vi)_mm256_madd_epi16((__m256i)odd, (__m256i)high);
}
#else
#define OFFSET 0
/* With both sides signed, a sum of two products is at most 2 * 127^2 and fits into 16 bits. */
INLINE vi dot4(vi sum, vu w, vu x)
{
    vs y = (vs)(w ^ 0x80808080u);
    vs two = ((y << 8) >> 8) * (((vs)x << 8) >> 8) + (y >> 8) * ((vs)x >> 8);
    return sum + (((vi)two << 16) >> 16) + ((vi)two >> 16);
}
#endif

/* A number that no later addition is fused with, so that every level rounds alike. */
INLINE vf rounded(vf x)
{
#if LEVEL > 0
    __asm__("" : "+v"(x));
#endif
    return x;
}

INLINE void tile8(const int m, const Matrix *w, const char *lines, long line, int panel, int part,
                  vf (*sums)[2 * WORDS])
{
    const long fours = (w->depth + 3L) / 4, at = (long)part * WORDS * VL, column = (long)panel * PANEL + at;
    const uint32_t *words = (const uint32_t *)w->panels + panel * fours * PANEL + at;
    vi s[MR][2 * WORDS];
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < 2 * WORDS; j++) s[i][j] = (vi){0};
    for (long k = 0; k < fours; k++) {
        vu x[MR];
        UNROLL
        for (int i = 0; i < m; i++) {
            uint32_t word;
            memcpy(&word, lines + i * line + WHOLE_HEAD + 4 * k, 4);
            x[i] = (vu){0} + word;
        }
        UNROLL
        for (int j = 0; j < WORDS; j++) {
            vu low = load_words(words + k * PANEL + j * VL), high = load_words(words + k * PANEL + j * VL + HALF);
            UNROLL
            for (int i = 0; i < m; i++) {
                s[i][j] = dot4(s[i][j], low, x[i]);
                s[i][WORDS + j] = dot4(s[i][WORDS + j], high, x[i]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < m; i++) {
        float scale;
        int32_t total;
        memcpy(&scale, lines + i * line, sizeof scale);
        memcpy(&total, lines + i * line + sizeof scale, sizeof total);
        UNROLL
        for (int j = 0; j < 2 * WORDS; j++) {
            const long c = column + (j % WORDS) * VL + j / WORDS * HALF;
            vf y = __builtin_convertvector(s[i][j] - OFFSET * total, vf) * scale * load(w->scales + c);
            sums[i][j] = rounded(w->bias ? rounded(y) + load(w->bias + c) : y);
        }
    }
}

INLINE void rows_by_panel8(const int m, const Matrix *w, int mode, const char *lines, long line, float *out, long ldo,
                           int panel)
{
    for (int part = 0; part < PARTS; part++) {
        vf sums[MR][2 * WORDS];
        tile8(m, w, lines, line, panel, part, sums);
        put(m, w, mode, sums, out, ldo, panel, part);
    }
}

#if LEVEL == 2
void gemm8_vnni
#else
static void gemm8
#endif
    (const Matrix *w, int mode, const char *lines, long line, int rows, float *out, long ldo, int first, int last)
{
    BY_BLOCKS(rows_by_panel8)
}
#endif
