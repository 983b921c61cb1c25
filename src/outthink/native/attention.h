/* Attention of some rows through one key head: block by block of 64 keys, with a running maximum and sum.
 *
 *     s = q K^T      m' = max(m, max s)      p = e^(s - m')      l' = l e^(m - m') + sum p
 *     o' = o e^(m - m') + p V
 *
 * A block of keys is packed once, transposed, and all queries that see it ride on it. Masked keys have p = 0,
 * and adding 0 changes no sum, so a row that sees part of a block has the bits that it would have alone. */

typedef struct {
    float *keys;    /* [dim, 64]: keys by column */
    float *values;  /* [64, wide] */
    float *queries; /* [QUERIES, dim] */
    float *out;     /* [QUERIES, wide] */
    float *top, *sum; /* [QUERIES] */
    long wide;      /* dim, padded to vectors */
} Work;

INLINE long wide_of(int dim) { return (dim + 31L) / 32 * 32; }

/* How many query heads a chunk has at most: 64, or those of one row. */
INLINE long most_queries(const Model *model)
{
    long group = model->heads / model->kv_heads;
    return group > QUERIES ? group : QUERIES;
}

static long attend_scratch(const Model *model)
{
    long wide = wide_of(model->dim), n = most_queries(model);
    return model->dim * (long)BLOCK + BLOCK * wide + n * model->dim + n * wide + 2 * n + 64;
}

INLINE Work work_of(const Model *model, float *scratch)
{
    Work w;
    long n = most_queries(model);
    w.wide = wide_of(model->dim);
    w.keys = scratch;
    w.values = w.keys + (long)model->dim * BLOCK;
    w.out = w.values + BLOCK * w.wide;
    w.queries = w.out + n * w.wide;
    w.top = w.queries + n * model->dim;
    w.sum = w.top + n;
    return w;
}

/* Four keys of four numbers each, turned over. */
typedef float quad __attribute__((vector_size(16)));
typedef float quad_any __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t quad_index __attribute__((vector_size(16)));
#if defined(__clang__)
#define PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, (quad_index){i, j, k, l})
#endif

INLINE void turn_over(const float *const from[4], long i, float *to)
{
    quad a = *(const quad_any *)(from[0] + i), b = *(const quad_any *)(from[1] + i);
    quad c = *(const quad_any *)(from[2] + i), d = *(const quad_any *)(from[3] + i);
    quad ab = PICK(a, b, 0, 4, 1, 5), cd = PICK(c, d, 0, 4, 1, 5);
    quad ab2 = PICK(a, b, 2, 6, 3, 7), cd2 = PICK(c, d, 2, 6, 3, 7);
    *(quad_any *)(to) = PICK(ab, cd, 0, 1, 4, 5);
    *(quad_any *)(to + BLOCK) = PICK(ab, cd, 2, 3, 6, 7);
    *(quad_any *)(to + 2 * BLOCK) = PICK(ab2, cd2, 0, 1, 4, 5);
    *(quad_any *)(to + 3 * BLOCK) = PICK(ab2, cd2, 2, 3, 6, 7);
}

#if LEVEL == 2
/* Sixteen lines of sixteen words, turned over. */
INLINE void turn_words(__m512i r[16])
{
    __m512i t[16];
    UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (int i = 0; i < 16; i += 4) { /* r[i + c]: words c, c + 4, c + 8, c + 12 of lines i to i + 3 */
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL
    for (int c = 0; c < 4; c++) {
        __m512i a = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), b = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xDD), e = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xDD);
        r[c] = _mm512_shuffle_i32x4(a, b, 0x88);
        r[c + 8] = _mm512_shuffle_i32x4(a, b, 0xDD);
        r[c + 4] = _mm512_shuffle_i32x4(d, e, 0x88);
        r[c + 12] = _mm512_shuffle_i32x4(d, e, 0xDD);
    }
}
#endif

#define AHEAD 32 /* keys: runs of slots are short, so a processor that looks ahead by itself does so too late */

/* Ask for the cell that comes so many keys after key j, in this task or the next: into the second cache, which
 * waits for more lines at a time than the nearest one. */
INLINE void fetch_ahead(const char *base, long line, long apart, long size, const Task *task, const Task *next, int j)
{
    int slot;
    j += AHEAD;
    if (j < task->keys) slot = task->slots[j];
    else if (next && j - task->keys < next->keys) slot = next->slots[j - task->keys];
    else return;
    const char *cell = base + slot * line;
    for (long i = 0; i < size; i += 64) {
        __builtin_prefetch(cell + i, 0, 2);
        __builtin_prefetch(cell + apart + i, 0, 2);
    }
}

/* Sixteen keys to columns of a packed block. */
INLINE void turn_keys(const int dim, const int half, const char *const cells[16], float *to)
{
#if LEVEL == 2
    const int at_once = half ? 32 : 16;
    if (dim % at_once == 0) {
        for (int d = 0; d < dim; d += at_once) {
            __m512i words[16];
            UNROLL
            for (int i = 0; i < 16; i++) words[i] = _mm512_loadu_si512(cells[i] + d * (half ? 2 : 4));
            turn_words(words);
            UNROLL
            for (int i = 0; i < 16; i++) {
                if (half) {
                    store(to + (d + 2 * i) * (long)BLOCK, (vf)((vu)words[i] << 16));
                    store(to + (d + 2 * i + 1) * (long)BLOCK, (vf)((vu)words[i] & 0xFFFF0000u));
                } else
                    store(to + (d + i) * (long)BLOCK, (vf)words[i]);
            }
        }
        return;
    }
#endif
    float rounded[4][dim];
    for (int j = 0; j < 16; j += 4) {
        const float *from[4];
        for (int i = 0; i < 4; i++) {
            from[i] = (const float *)cells[j + i];
            if (half) {
                widen(rounded[i], (const uint16_t *)cells[j + i], dim);
                from[i] = rounded[i];
            }
        }
        int d = 0;
        for (; d + 4 <= dim; d += 4) turn_over(from, d, to + (long)d * BLOCK + j);
        for (; d < dim; d++)
            for (int i = 0; i < 4; i++) to[(long)d * BLOCK + j + i] = from[i][d];
    }
}

/* Keys and values of a block to float32. Beyond the last key, to the next 16, comes the last one again: those
 * columns are masked, and values are not read there. */
INLINE void pack_block(const int dim, const int half, const Pass *pass, int layer, int head, const Task *task,
                       const Task *next, Work *w)
{
    const int n = task->keys;
    const long size = half ? 2 : 4, apart = dim * size, line = 2 * apart;
    const char *base = pass->cache + ((long)layer * pass->model->kv_heads + head) * pass->head_slots * line;
    for (int j = 0; j < n; j += 16) {
        const char *cells[16];
        for (int i = 0; i < 16; i++) {
            fetch_ahead(base, line, apart, dim * size, task, next, j + i);
            cells[i] = base + task->slots[j + i < n ? j + i : n - 1] * line;
            if (j + i >= n) continue;
            float *value = w->values + (j + i) * w->wide;
            if (half) widen(value, (const uint16_t *)(cells[i] + apart), dim);
            else memcpy(value, cells[i] + apart, dim * sizeof(float));
        }
        turn_keys(dim, half, cells, w->keys + j);
    }
}

/* Scores of m queries against n vectors of keys from `at` on. */
INLINE void score(const int m, const int n, const float *q, const int dim, const float *keys, int at,
                  float (*scores)[BLOCK])
{
    vf s[4][KEYS];
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < n; j++) s[i][j] = (vf){0};
    for (int d = 0; d < dim; d++) {
        vf k[KEYS];
        UNROLL
        for (int j = 0; j < n; j++) k[j] = load(keys + (long)d * BLOCK + at + j * VL);
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int j = 0; j < n; j++) s[i][j] += q[(long)i * dim + d] * k[j];
    }
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < n; j++) store(&scores[i][at + j * VL], s[i][j]);
}

/* Scores to weights for m queries, side by side, as each is one long chain; query i sees seen[i] of the keys.
 * Weights are zero up to `until`. `by` is what the earlier outputs are to be multiplied with. */
INLINE void weigh(const int m, float (*scores)[BLOCK], const int *seen, int until, float *top, float *sum, float *by)
{
    static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi lane;
    memcpy(&lane, lanes, sizeof lane);
    vf most[4], total[4];
    float now[4], change[VL] = {0};
    int least = BLOCK;
    UNROLL
    for (int i = 0; i < m; i++) {
        most[i] = splat(-INFINITY), total[i] = (vf){0};
        least = seen[i] < least ? seen[i] : least;
    }
    for (int j = 0; j < until; j += VL) {
        UNROLL
        for (int i = 0; i < m; i++) {
            vf s = load(&scores[i][j]);
            if (j + VL > least) {
                s = choose(lane < seen[i] - j, s, splat(-INFINITY));
                store(&scores[i][j], s);
            }
            most[i] = vmax(most[i], s);
        }
    }
    UNROLL
    for (int i = 0; i < m; i++) {
        now[i] = max_lanes(most[i]);
        if (now[i] < top[i]) now[i] = top[i];
        change[i] = top[i] - now[i];
        top[i] = now[i];
    }
    for (int j = 0; j < until; j += VL) {
        UNROLL
        for (int i = 0; i < m; i++) {
            vf p = vexp(load(&scores[i][j]) - now[i]);
            store(&scores[i][j], p);
            total[i] += p;
        }
    }
    store(change, vexp(load(change)));
    UNROLL
    for (int i = 0; i < m; i++) {
        by[i] = change[i];
        sum[i] = sum[i] * by[i] + sum_lanes(total[i]);
    }
}

/* Add the weighted values of n keys to m outputs, two vectors of the head at a time. */
INLINE void mix(const int m, float (*weights)[BLOCK], const float *by, const float *values, long wide, int n,
                float *out)
{
    for (long d = 0; d < wide; d += 2 * VL) {
        vf a[4], b[4];
        UNROLL
        for (int i = 0; i < m; i++) {
            a[i] = load(out + i * wide + d) * by[i];
            b[i] = load(out + i * wide + d + VL) * by[i];
        }
        for (int j = 0; j < n; j++) {
            vf u = load(values + j * wide + d), v = load(values + j * wide + d + VL);
            UNROLL
            for (int i = 0; i < m; i++) {
                a[i] += weights[i][j] * u;
                b[i] += weights[i][j] * v;
            }
        }
        UNROLL
        for (int i = 0; i < m; i++) store(out + i * wide + d, a[i]), store(out + i * wide + d + VL, b[i]);
    }
}

/* m queries against a packed block; seen[i] is how many of its keys query i sees. */
INLINE void block_of(const int m, const Work *w, const int dim, const int *seen, long query)
{
    float scores[4][BLOCK], by[4];
    int most = 0;
    for (int i = 0; i < m; i++) most = seen[i] > most ? seen[i] : most;
    const int until = (most + VL - 1) / VL * VL;
    const float *q = w->queries + query * dim;
    int at = 0;
    for (; at + KEYS * VL <= until; at += KEYS * VL) score(m, KEYS, q, dim, w->keys, at, scores);
#if KEYS > 2
    if (at + 2 * VL <= until) score(m, 2, q, dim, w->keys, at, scores), at += 2 * VL;
#endif
    if (at < until) score(m, 1, q, dim, w->keys, at, scores);
    weigh(m, scores, seen, until, w->top + query, w->sum + query, by);
    mix(m, scores, by, w->values, w->wide, most, w->out + query * w->wide);
}

INLINE void attend_heads(const int dim, const Pass *pass, int layer, int head, const Chunk *chunk, float *scratch)
{
    const Model *model = pass->model;
    const int kv = model->kv_heads, group = model->heads / kv;
    Work w = work_of(model, scratch);
    const int queries = (chunk->last - chunk->first) * group;
    for (int i = 0; i < queries; i++) {
        long row = chunk->first + i / group, h = (i % group) * (long)kv + head;
        memcpy(w.queries + (long)i * dim, pass->qkv + row * pass->wide_qkv + h * dim, dim * sizeof(float));
        w.top[i] = -INFINITY;
        w.sum[i] = 0.0f;
    }
    memset(w.out, 0, queries * w.wide * sizeof(float));
    for (int j = 0; j < BLOCK; j++) memset(w.values + j * w.wide + dim, 0, (w.wide - dim) * sizeof(float));
    for (int t = chunk->begin; t < chunk->end; t++) {
        const Task *task = pass->tasks + t, *next = t + 1 < chunk->end ? task + 1 : NULL;
        if (pass->cache_half) pack_block(dim, 1, pass, layer, head, task, next, &w);
        else pack_block(dim, 0, pass, layer, head, task, next, &w);
        const int begin = (task->first - chunk->first) * group, end = (task->last - chunk->first) * group;
        for (int i = begin; i < end;) {
            int seen[4], m = end - i >= 4 ? 4 : end - i >= 2 ? 2 : 1;
            for (int c = 0; c < m; c++) {
                int n = pass->context[chunk->first + (i + c) / group] - task->block * BLOCK;
                seen[c] = n < BLOCK ? n : BLOCK;
            }
            if (m == 4) block_of(4, &w, dim, seen, i);
            else if (m == 2) block_of(2, &w, dim, seen, i);
            else block_of(1, &w, dim, seen, i);
            i += m;
        }
    }
    for (int i = 0; i < queries; i++) {
        long row = chunk->first + i / group, h = (i % group) * (long)kv + head;
        float *to = pass->mixed + row * pass->wide_mixed + h * dim, by = 1.0f / w.sum[i];
        for (int d = 0; d < dim; d++) to[d] = w.out[i * w.wide + d] * by;
    }
}

static void attend(const Pass *pass, int layer, int head, const Chunk *chunk, float *scratch)
{
    switch (pass->model->dim) { /* usual sizes as constants, which makes short loops straight */
    case 32: attend_heads(32, pass, layer, head, chunk, scratch); break;
    case 64: attend_heads(64, pass, layer, head, chunk, scratch); break;
    case 128: attend_heads(128, pass, layer, head, chunk, scratch); break;
    default: attend_heads(pass->model->dim, pass, layer, head, chunk, scratch);
    }
}
