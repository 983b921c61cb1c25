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

#define AHEAD 8 /* keys: cells of one head lie a page apart, where no processor looks ahead by itself */

/* Ask for the cell that comes so many keys after key j, in this task or the next. */
INLINE void fetch_ahead(const char *base, long line, long apart, long size, const Task *task, const Task *next, int j)
{
    int slot;
    j += AHEAD;
    if (j < task->keys) slot = task->slots[j];
    else if (next && j - task->keys < next->keys) slot = next->slots[j - task->keys];
    else return;
    const char *cell = base + slot * line;
    for (long i = 0; i < size; i += 64) {
        __builtin_prefetch(cell + i, 0, 3);
        __builtin_prefetch(cell + apart + i, 0, 3);
    }
}

/* Keys and values of a block to float32; what is beyond the last key becomes zero, to the next 16. */
INLINE void pack_block(const int dim, const int half, const Pass *pass, int layer, int head, const Task *task,
                       const Task *next, Work *w)
{
    const int n = task->keys, until = (n + 15) / 16 * 16;
    const long size = half ? 2 : 4, apart = (long)pass->model->kv_heads * dim * size, line = 2 * apart;
    const char *base = pass->cache + layer * pass->layer_slots * line + head * dim * size;
    float rounded[4][dim];
    for (int j = 0; j < until; j += 4) {
        const float *from[4];
        for (int i = 0; i < 4; i++) {
            float *value = w->values + (j + i) * w->wide;
            fetch_ahead(base, line, apart, dim * size, task, next, j + i);
            if (j + i >= n) {
                for (int d = 0; d < dim; d++) rounded[i][d] = 0.0f;
                for (int d = 0; d < dim; d++) value[d] = 0.0f;
                from[i] = rounded[i];
                continue;
            }
            const char *cell = base + task->slots[j + i] * line;
            if (half) {
                widen(rounded[i], (const uint16_t *)cell, dim);
                widen(value, (const uint16_t *)(cell + apart), dim);
                from[i] = rounded[i];
            } else {
                from[i] = (const float *)cell;
                memcpy(value, cell + apart, dim * sizeof(float));
            }
        }
        int d = 0;
        for (; d + 4 <= dim; d += 4) turn_over(from, d, w->keys + (long)d * BLOCK + j);
        for (; d < dim; d++)
            for (int i = 0; i < 4; i++) w->keys[(long)d * BLOCK + j + i] = from[i][d];
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

/* Scores to weights for one query that sees n of the keys; weights are zero up to `until`. Returns what its
 * earlier output is to be multiplied with. */
INLINE float weigh(float *scores, int n, int until, float *top, float *sum)
{
    static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi lane;
    memcpy(&lane, lanes, sizeof lane);
    vf most = splat(-INFINITY);
    for (int j = 0; j < n; j += VL) {
        vf s = load(scores + j);
        if (j + VL > n) {
            s = choose(lane < n - j, s, splat(-INFINITY));
            store(scores + j, s);
        }
        most = vmax(most, s);
    }
    float before = *top, now = max_lanes(most);
    if (now < before) now = before;
    vf total = {0};
    for (int j = 0; j < until; j += VL) {
        vf p = {0};
        if (j < n) p = vexp(load(scores + j) - now);
        store(scores + j, p);
        total += p;
    }
    float by = exp_one(before - now);
    *top = now;
    *sum = *sum * by + sum_lanes(total);
    return by;
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
    for (int i = 0; i < m; i++) by[i] = weigh(scores[i], seen[i], until, w->top + query + i, w->sum + query + i);
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
