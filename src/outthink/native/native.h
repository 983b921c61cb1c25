/* What the parts of the extension share: the model, one pass over packed rows, and the table of kernels.
 *
 * The promise that everything here keeps: the bits of a row depend on its own tokens alone. Not on the rows
 * beside it, on how they are cut into passes or segments, on slots, or on the number of threads. So every
 * element of a matrix product is one chain of additions over k, in ascending k, whatever rows share the
 * weights; and a row's attention goes over blocks of 64 keys that begin at multiples of 64 of its own view,
 * first to last, by the same arithmetic for one row as for many. Keys and values of a pass are all in the
 * cache, rounded to its type, before any row reads them.
 */
#ifndef OUTTHINK_NATIVE_H
#define OUTTHINK_NATIVE_H

#include <stdint.h>

#define PANEL 64        /* columns of a packed matrix that lie together */
#define HALF (PANEL / 2)
#define BLOCK 64        /* keys that attention takes at a time */
#define QUERIES 64      /* query heads of one key head that share a packed block */
#define FEW_ROWS 8      /* up to so many rows every thread norms for itself, which saves a barrier */
#define ROWS_AT_ONCE 96 /* rows of a product whose left side should stay in a core's cache */
#define WHOLE_HEAD 8    /* bytes before the numbers of a row in whole numbers: its scale, their sum */

/* A matrix [outputs, depth] in panels of 64 outputs. A panel is, for every k, 32 words: word j holds outputs
 * j (low half) and j + 32 (high half) in bfloat16; if `wide`, 64 float32 numbers. Rows beyond are zero. With
 * scales it is in 8-bit whole numbers, see gemm8.h; if `pairs` in bfloat16 as pairs.h has it. */
typedef struct {
    const void *panels;
    const float *bias;   /* [count * 64] or NULL */
    const float *scales; /* [count * 64] or NULL */
    int outputs, depth, count, wide, pairs;
} Matrix;

/* Whether rows are rounded before they meet it. */
static inline int rounds(const Matrix *w) { return w->scales || w->pairs; }

typedef struct {
    Matrix qkv, out, gate_up, down;
    const float *before, *between; /* gains of the two norms, times sqrt(hidden) */
    const float *head_gain;        /* [heads + kv_heads, dim] times sqrt(dim), or NULL */
} Layer;

typedef struct {
    int vocab, hidden, heads, kv_heads, dim, inner, num_layers;
    float eps;
    const void *embed; /* [vocab, hidden], bfloat16 unless embed_wide */
    int embed_wide;
    const float *gain; /* of the last norm, times sqrt(hidden) */
    Matrix head;
    Layer *layers;
} Model;

/* Rows [first, last) see `keys` slots at most of block `block` of their views; a row sees the first
 * min(64, its context - 64 block) of them. */
typedef struct {
    int block, first, last, keys;
    int slots[BLOCK];
} Task;

/* Rows whose state fits a core's nearest cache, and their tasks in the order of blocks. */
typedef struct {
    int first, last, begin, end;
} Chunk;

typedef struct {
    const Model *model;
    int rows, num_wanted, num_chunks;
    const int *tokens, *positions, *slots, *context, *wanted;
    const Chunk *chunks;
    const Task *tasks;
    const float *turns; /* cos, sin for every position and pair, [positions, dim / 2, 2] */
    char *cache;        /* [layers, kv_heads, head_slots, 2, dim], of which cache_slots are in use */
    long cache_slots, head_slots;
    int cache_half; /* bfloat16 instead of float32 */
    float *x, *normed, *qkv, *mixed, *inner; /* one line a row, lines padded to whole panels */
    long wide_hidden, wide_qkv, wide_mixed, wide_inner;
    char *lines; /* what is multiplied next, rounded: rounded_line() bytes a row */
} Pass;

enum { STORE, ADD, GATED };

/* One set of kernels for each level of the instruction set; the templates are gemm.h, attention.h, rows.h, draw.h. */
typedef struct {
    const char *name;
    /* out (+)= a W^T + b for panels [first, last); GATED: out = silu(low half) * high half, 32 columns each */
    void (*gemm)(const Matrix *w, int mode, const float *a, long lda, int rows, float *out, long ldo,
                 int first, int last);
    /* rows to 8-bit whole numbers, each with its scale; and the same product of them */
    void (*whole)(const float *a, long lda, int rows, int depth, char *lines, long line);
    void (*gemm8)(const Matrix *w, int mode, const char *lines, long line, int rows, float *out, long ldo,
                  int first, int last);
    /* out = x / sqrt(|x|^2 + width eps) * gain, a row after the other; gain has sqrt(width) in it */
    void (*norm)(const float *x, const float *gain, float *out, int rows, long stride, int width, float eps);
    void (*embed)(const Pass *pass, int row);
    /* norm and turn keys and queries of one key head, keys and values into the cache, queries by 1/sqrt(dim) */
    void (*turn)(const Pass *pass, int layer, int head, int first, int last);
    void (*attend)(const Pass *pass, int layer, int head, const Chunk *chunk, float *scratch);
    long (*attend_scratch)(const Model *model);
    /* a token by keyed noise (words a, b of its row), the likeliest one at temperature 0; its log-probability */
    void (*draw)(const float *logits, int vocab, float temperature, uint32_t a, uint32_t b, int *token,
                 float *logprob);
    /* the so many likeliest tokens of a row, at most vocab, the likeliest first, of equals the first */
    void (*likeliest)(const float *logits, int vocab, int count, int *tokens, float *logprobs);
} Kernels;

extern const Kernels kernels_generic;
#if defined(__x86_64__) && defined(__GNUC__)
#define HAVE_X86_LEVELS 1
extern const Kernels kernels_avx2, kernels_avx512;
void round_rows(const float *a, long lda, int rows, int depth, char *lines, long line);
void gemm_pairs(const Matrix *w, int mode, const char *lines, long line, int rows, float *out, long ldo, int first,
                int last);
void gemm8_vnni(const Matrix *w, int mode, const char *lines, long line, int rows, float *out, long ldo, int first,
                int last);
#endif

static inline long padded(long n) { return (n + PANEL - 1) / PANEL * PANEL; }

/* Bytes of a row that is rounded, to 8 bits or to 16, whichever matrix it meets. */
static inline long rounded_line(const Model *model)
{
    const long mixed = (long)model->heads * model->dim;
    long most = model->hidden > model->inner ? model->hidden : model->inner;
    if (mixed > most) most = mixed;
    return padded(WHOLE_HEAD + 2 * most + 32);
}

/* plan.c */
typedef struct {
    int parent, start, length, begin; /* begin: how many slots of a view come before the segment */
} Segment;
int plan_attention(const Segment *segments, const int *segment, const int *context, int rows, int group,
                   Chunk **chunks, int *chunk_room, Task **tasks, int *task_room);

/* pool.c: `stage(what, item, thread)` for all items, by as many threads as are awake */
typedef void (*Stage)(void *what, int item, int thread);
int pool_begin(int threads); /* takes the pool for a pass; how many threads there may be */
void pool_run(Stage stage, void *what, int items);
void pool_end(void);
void pool_forked(void);

/* pass.c */
typedef struct {
    float *out;        /* logits [num_wanted, vocab], or last norms [num_wanted, hidden] */
    int only_hidden;
    const int *layers; /* which to run, in order */
    int num_layers;
    int threads;
    int areas;
    float *scratch; /* [areas, scratch_size] */
    long scratch_size;
} Order;
long pass_scratch(const Model *model, const Kernels *kernels);
void pass_run(const Kernels *kernels, Pass *pass, Order *order);

#endif
