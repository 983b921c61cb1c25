/* One pass: the stages of every layer, each cut into items that any thread may do.
 *
 * Passes over few rows are short, so their stages are few: every thread norms all rows for itself, and who does
 * a key head also turns and caches it. Both give the bits of the longer way. */
#include <string.h>
#include "native.h"

typedef struct {
    int stage; /* for which `normed` holds the rows */
    char apart[60];
} Stamp;

typedef struct {
    const Kernels *kernels;
    Pass *pass;
    Order *order;
    int layer, stage, threads;
    int items, groups, per; /* of the stage */
    const Matrix *matrix;
    const float *gain; /* rows are to be normed first, by each thread for itself */
    const float *in;
    float *out;
    long in_line, out_line;
    int mode, rows;
} Run;

static int ceil_div(int a, int b) { return (a + b - 1) / b; }

static long normed_size(const Model *model) { return FEW_ROWS * padded(model->hidden); }
static long few_whole(const Model *model) { return FEW_ROWS * whole_line(model) / (long)sizeof(float); }

/* Floats that a thread needs: a stamp, rows that it normed, the same in whole numbers, and attention's memory. */
long pass_scratch(const Model *model, const Kernels *kernels)
{
    return padded(sizeof(Stamp) / sizeof(float) + normed_size(model) + few_whole(model) + kernels->attend_scratch(model));
}

static float *scratch_of(const Run *run, int thread) { return run->order->scratch + thread * run->order->scratch_size; }

static void norm_rows(const Run *run, const float *gain, float *out, int first, int last)
{
    const Pass *pass = run->pass;
    run->kernels->norm(pass->x + first * pass->wide_hidden, gain, out + first * pass->wide_hidden, last - first,
                       pass->wide_hidden, pass->model->hidden, pass->model->eps);
}

static void norm_item(void *what, int item, int thread)
{
    Run *run = what;
    int first = item * FEW_ROWS, last = first + FEW_ROWS;
    (void)thread;
    norm_rows(run, run->gain, run->pass->normed, first, last < run->rows ? last : run->rows);
}

static void whole_rows(const Run *run, const float *in, char *out, int first, int last)
{
    const long line = whole_line(run->pass->model);
    run->kernels->whole(in + first * run->in_line, run->in_line, last - first, run->matrix->depth, out + first * line,
                        line);
}

static void whole_item(void *what, int item, int thread)
{
    Run *run = what;
    int first = item * FEW_ROWS, last = first + FEW_ROWS;
    (void)thread;
    whole_rows(run, run->in, run->pass->whole, first, last < run->rows ? last : run->rows);
}

static void gemm_item(void *what, int item, int thread)
{
    Run *run = what;
    const float *in = run->in;
    const char *whole = run->pass->whole;
    if (run->rows <= FEW_ROWS && (run->gain || run->matrix->scales)) { /* each thread for itself */
        Stamp *stamp = (Stamp *)scratch_of(run, thread);
        float *normed = (float *)(stamp + 1);
        char *own = (char *)(normed + normed_size(run->pass->model));
        if (run->gain) in = normed;
        if (stamp->stage != run->stage) {
            if (run->gain) norm_rows(run, run->gain, normed, 0, run->rows);
            if (run->matrix->scales) whole_rows(run, in, own, 0, run->rows);
        }
        stamp->stage = run->stage;
        whole = own;
    }
    const int part = item / run->groups, parts = run->items / run->groups, group = item % run->groups;
    const int first = (int)((long)run->rows * part / parts), last = (int)((long)run->rows * (part + 1) / parts);
    const int panel = group * run->per, stop = panel + run->per;
    const int end = stop < run->matrix->count ? stop : run->matrix->count;
    float *out = run->out + first * run->out_line;
    if (run->matrix->scales) {
        const long line = whole_line(run->pass->model);
        run->kernels->gemm8(run->matrix, run->mode, whole + first * line, line, last - first, out, run->out_line,
                            panel, end);
    } else
        run->kernels->gemm(run->matrix, run->mode, in + first * run->in_line, run->in_line, last - first, out,
                           run->out_line, panel, end);
}

/* A product of `rows` rows; with a gain, of the normed stream. */
static void product(Run *run, const Matrix *matrix, int mode, const float *gain, const float *in, long in_line,
                    float *out, long out_line, int rows)
{
    run->matrix = matrix, run->mode = mode, run->rows = rows;
    run->in = in, run->in_line = in_line, run->out = out, run->out_line = out_line;
    run->gain = gain;
    run->stage++;
    if (gain && rows > FEW_ROWS) {
        pool_run(norm_item, run, ceil_div(rows, FEW_ROWS));
        run->gain = NULL;
    }
    if (matrix->scales && rows > FEW_ROWS) pool_run(whole_item, run, ceil_div(rows, FEW_ROWS));
    run->per = run->threads == 1 ? matrix->count : matrix->count / (4 * run->threads);
    if (run->per < 1) run->per = 1;
    run->groups = ceil_div(matrix->count, run->per);
    run->items = run->groups * ceil_div(rows, ROWS_AT_ONCE);
    pool_run(gemm_item, run, run->items);
}

static void turn_item(void *what, int item, int thread)
{
    Run *run = what;
    const int heads = run->pass->model->kv_heads, first = item / heads * FEW_ROWS, last = first + FEW_ROWS;
    (void)thread;
    run->kernels->turn(run->pass, run->layer, item % heads, first, last < run->pass->rows ? last : run->pass->rows);
}

static void attend_item(void *what, int item, int thread)
{
    Run *run = what;
    const Pass *pass = run->pass;
    const int heads = pass->model->kv_heads, head = item % heads;
    float *scratch = scratch_of(run, thread) + sizeof(Stamp) / sizeof(float) + normed_size(pass->model) +
                     few_whole(pass->model);
    if (pass->num_chunks == 1) run->kernels->turn(pass, run->layer, head, 0, pass->rows);
    run->kernels->attend(pass, run->layer, head, pass->chunks + item / heads, scratch);
}

static void layer(Run *run)
{
    Pass *pass = run->pass;
    const Layer *layer = pass->model->layers + run->layer;
    const int rows = pass->rows, heads = pass->model->kv_heads;
    product(run, &layer->qkv, STORE, layer->before, pass->normed, pass->wide_hidden, pass->qkv, pass->wide_qkv,
            rows);
    if (pass->num_chunks > 1) pool_run(turn_item, run, ceil_div(rows, FEW_ROWS) * heads);
    pool_run(attend_item, run, pass->num_chunks * heads);
    product(run, &layer->out, ADD, NULL, pass->mixed, pass->wide_mixed, pass->x, pass->wide_hidden, rows);
    product(run, &layer->gate_up, GATED, layer->between, pass->normed, pass->wide_hidden, pass->inner,
            pass->wide_inner, rows);
    product(run, &layer->down, ADD, NULL, pass->inner, pass->wide_inner, pass->x, pass->wide_hidden, rows);
}

/* The last norm and the head, for the wanted rows. */
static void finish(Run *run)
{
    const Pass *pass = run->pass;
    const Model *model = pass->model;
    const long line = pass->wide_hidden;
    for (int i = 0; i < pass->num_wanted; i++) /* wanted rows ascend, so none is overwritten unread */
        run->kernels->norm(pass->x + pass->wanted[i] * line, model->gain, pass->normed + i * line, 1, line,
                           model->hidden, model->eps);
    if (run->order->only_hidden)
        for (int i = 0; i < pass->num_wanted; i++)
            memcpy(run->order->out + (long)i * model->hidden, pass->normed + i * line, model->hidden * sizeof(float));
    else if (pass->num_wanted)
        product(run, &model->head, STORE, NULL, pass->normed, line, run->order->out, model->vocab,
                pass->num_wanted);
}

/* Run a pass; the pool is the caller's, and there is scratch for every thread of it. */
void pass_run(const Kernels *kernels, Pass *pass, Order *order)
{
    Run run = {.kernels = kernels, .pass = pass, .order = order, .threads = order->threads};
    for (int t = 0; t < order->areas; t++) ((Stamp *)scratch_of(&run, t))->stage = 0;
    for (int row = 0; row < pass->rows; row++) kernels->embed(pass, row);
    for (int i = 0; i < order->num_layers; i++) {
        run.layer = order->layers[i];
        layer(&run);
    }
    finish(&run);
}
