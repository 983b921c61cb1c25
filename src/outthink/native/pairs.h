/* Rows times a packed matrix in bfloat16, two products an instruction: rows are rounded to bfloat16 first.
 *
 * A panel of 64 outputs is, for every two k, 64 words: word j holds output j at k (low half) and k + 1 (high half).
 * Sums are float32, one chain over pairs of k. */

/* Rows to bfloat16, to nearest, zeros behind them up to a whole vector. */
void round_rows(const float *a, long lda, int rows, int depth, char *lines, long line)
{
    for (int i = 0; i < rows; i++, a += lda, lines += line) {
        const int even = depth / VL * VL;
        float tail[VL] = {0};
        memcpy(tail, a + even, (depth - even) * sizeof(float));
        for (int k = 0; k < depth; k += VL) {
            __m256bh half = _mm512_cvtneps_pbh((__m512)load(k < even ? a + k : tail));
            memcpy(lines + 2 * k, &half, sizeof half);
        }
    }
}

INLINE vf dot2(vf sum, vu w, vu x) { return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)x); }

INLINE void pairs_by_panel(const int m, const Matrix *w, int mode, const char *lines, long line, float *out, long ldo,
                           int panel)
{
    const long twos = (w->depth + 1L) / 2;
    const uint32_t *words = (const uint32_t *)w->panels + panel * twos * PANEL;
    vf sums[MR][2 * WORDS];
    UNROLL
    for (int j = 0; j < 2 * WORDS; j++) {
        vf first = {0};
        if (w->bias) first = load(w->bias + (long)panel * PANEL + j * VL);
        UNROLL
        for (int i = 0; i < m; i++) sums[i][j] = first;
    }
    for (long k = 0; k < twos; k++) {
        vu some[2 * WORDS];
        UNROLL
        for (int j = 0; j < 2 * WORDS; j++) some[j] = load_words(words + k * PANEL + j * VL);
        UNROLL
        for (int i = 0; i < m; i++) {
            uint32_t word;
            memcpy(&word, lines + i * line + 4 * k, 4);
            vu x = (vu){0} + word;
            UNROLL
            for (int j = 0; j < 2 * WORDS; j++) sums[i][j] = dot2(sums[i][j], some[j], x);
        }
    }
    put(m, w, mode, sums, out, ldo, panel, 0);
}

void gemm_pairs(const Matrix *w, int mode, const char *lines, long line, int rows, float *out, long ldo, int first,
                int last)
{
    BY_BLOCKS(pairs_by_panel)
}
