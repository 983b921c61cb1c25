/* Rows times a packed matrix. A tile is up to MR rows and a part of a panel; its sums stay in registers while
 * k runs from 0 to depth. What a tile's height is changes nothing in a sum, so neither do the other rows. */

#define WORDS 2                              /* vectors of words at once; twice as many vectors of outputs */
#define PARTS (HALF / (WORDS * VL))          /* parts of a panel */

INLINE void tile(const int m, const int wide, const Matrix *w, const float *a, long lda, int panel, int part,
                 vf (*sums)[2 * WORDS])
{
    const long depth = w->depth;
    const long at = (long)part * WORDS * VL;
    const uint32_t *words = (const uint32_t *)w->panels + panel * depth * HALF + at;
    const float *plain = (const float *)w->panels + panel * depth * PANEL + at;
    vf s[MR][2 * WORDS];
    UNROLL
    for (int j = 0; j < WORDS; j++) {
        vf low = {0}, high = {0};
        if (w->bias) {
            low = load(w->bias + panel * PANEL + at + j * VL);
            high = load(w->bias + panel * PANEL + at + j * VL + HALF);
        }
        UNROLL
        for (int i = 0; i < m; i++) s[i][j] = low, s[i][WORDS + j] = high;
    }
    for (long k = 0; k < depth; k++) {
        UNROLL
        for (int j = 0; j < WORDS; j++) {
            vf low, high;
            if (wide) {
                low = load(plain + k * PANEL + j * VL);
                high = load(plain + k * PANEL + j * VL + HALF);
            } else {
                vu word = load_words(words + k * HALF + j * VL);
                low = (vf)(word << 16);
                high = (vf)(word & 0xFFFF0000u);
            }
            UNROLL
            for (int i = 0; i < m; i++) {
                float x = a[i * lda + k];
                s[i][j] += x * low;
                s[i][WORDS + j] += x * high;
            }
        }
    }
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < 2 * WORDS; j++) sums[i][j] = s[i][j];
}

/* The sums of a tile to where they belong; a last panel may have fewer columns than 64. */
INLINE void put(const int m, const Matrix *w, int mode, vf (*sums)[2 * WORDS], float *out, long ldo, int panel,
                int part)
{
    const int left = w->outputs - panel * PANEL;
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int j = 0; j < WORDS; j++) {
            int at = (part * WORDS + j) * VL;
            vf low = sums[i][j], high = sums[i][WORDS + j];
            if (mode == GATED) {
                store(out + i * ldo + (long)panel * HALF + at, silu(low) * high);
                continue;
            }
            float *to = out + i * ldo + (long)panel * PANEL + at;
            if (mode == ADD) {
                store(to, load(to) + low);
                store(to + HALF, load(to + HALF) + high);
            } else if (left >= PANEL) {
                store(to, low);
                store(to + HALF, high);
            } else {
                for (int c = 0; c < VL; c++) {
                    if (at + c < left) to[c] = low[c];
                    if (at + c + HALF < left) to[c + HALF] = high[c];
                }
            }
        }
    }
}

INLINE void rows_by_panel(const int m, const Matrix *w, int mode, const float *a, long lda, float *out, long ldo,
                          int panel)
{
    for (int part = 0; part < PARTS; part++) {
        vf sums[MR][2 * WORDS];
        if (w->wide)
            tile(m, 1, w, a, lda, panel, part, sums);
        else
            tile(m, 0, w, a, lda, panel, part, sums);
        put(m, w, mode, sums, out, ldo, panel, part);
    }
}

#define HEIGHT(m, one) \
    case m: one(m, w, mode, x, line, y, ldo, panel); break;
#if MR > 3
#define HEIGHTS(one) HEIGHT(1, one) HEIGHT(2, one) HEIGHT(3, one) HEIGHT(4, one) HEIGHT(5, one) HEIGHT(6, one)
#else
#define HEIGHTS(one) HEIGHT(1, one) HEIGHT(2, one) HEIGHT(3, one)
#endif

/* The body of a product: all panels, and for each all rows in blocks whose heights differ by one at most, so that
 * none is a thin rest. `one` does a block; its height is a constant to the compiler. */
#define BY_BLOCKS(one)                                                 \
    const int blocks = (rows + MR - 1) / MR;                           \
    for (int panel = first; panel < last; panel++) {                   \
        int row = 0;                                                   \
        for (int b = 0; b < blocks; b++) {                             \
            const int m = (rows - row + blocks - b - 1) / (blocks - b); \
            const __typeof__(*lines) *x = lines + row * line;          \
            float *y = out + row * ldo;                                \
            switch (m) { HEIGHTS(one) }                                \
            row += m;                                                  \
        }                                                              \
    }

static void gemm(const Matrix *w, int mode, const float *lines, long line, int rows, float *out, long ldo, int first,
                 int last)
{
    BY_BLOCKS(rows_by_panel)
}
