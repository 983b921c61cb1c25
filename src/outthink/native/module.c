/* outthink.models._native: the pass for Python. Tensors come as addresses; models/native.py, its only caller,
 * keeps them alive and has checked their types. What a batch says is checked here, where it is read. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "native.h"

static const char MODEL[] = "outthink.native.model";

/* Memory of a pass, kept for the next. */
typedef struct {
    int *ints;
    long int_room;
    float *floats;
    long float_room;
    Segment *segments;
    long segment_room;
    Chunk *chunks;
    int chunk_room;
    Task *tasks;
    int task_room;
    float *scratch;
    long scratch_room;
} Space;

typedef struct {
    Model model;
    Space *space; /* NULL while a pass has it */
} Handle;

static void free_space(Space *s)
{
    if (!s) return;
    free(s->ints), free(s->floats), free(s->segments), free(s->chunks), free(s->tasks), free(s->scratch);
    free(s);
}

/* Room for `count` things of a size; contents are lost. 64-byte lines, so that threads share none. */
static int room(void **p, long *have, long count, long size)
{
    if (*p && count <= *have) return 1;
    free(*p);
    *have = count + count / 4 + 16;
    if (posix_memalign(p, 64, *have * size)) *p = NULL;
    if (!*p) PyErr_NoMemory();
    return *p != NULL;
}

static const Kernels *find_level(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    if (!text) return NULL;
    if (!strcmp(text, "generic")) return &kernels_generic;
#ifdef HAVE_X86_LEVELS
    if (!strcmp(text, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &kernels_avx2;
    if (!strcmp(text, "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &kernels_avx512;
    if (!strcmp(text, "avx512bf16") && __builtin_cpu_supports("avx512bf16") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &kernels_avx512; /* with matrices in pairs, see native.h */
#endif
    PyErr_Format(PyExc_ValueError, "this processor has no kernels of level '%s'", text);
    return NULL;
}

static PyObject *py_levels(PyObject *self, PyObject *none)
{
    static const char *const names[] = {"avx512bf16", "avx512", "avx2", "generic"};
    PyObject *found = PyList_New(0);
    (void)self, (void)none;
    for (int i = 0; found && i < 4; i++) {
        PyObject *name = PyUnicode_FromString(names[i]);
        if (name && find_level(name)) PyList_Append(found, name);
        else PyErr_Clear();
        Py_XDECREF(name);
    }
    return found;
}

/* pack(weight, outputs, depth, wide, to): float32 [outputs, depth] to panels; see Matrix. */
static PyObject *py_pack(PyObject *self, PyObject *args)
{
    unsigned long long from, to;
    long outputs, depth;
    int wide;
    (void)self;
    if (!PyArg_ParseTuple(args, "KllpK", &from, &outputs, &depth, &wide, &to)) return NULL;
    const float *weight = (const float *)(uintptr_t)from;
    const long panels = padded(outputs) / PANEL;
    Py_BEGIN_ALLOW_THREADS
    for (long p = 0; p < panels; p++)
        for (long j = 0; j < PANEL; j++) {
            const long n = p * PANEL + j;
            for (long k = 0; k < depth; k++) {
                float x = n < outputs ? weight[n * depth + k] : 0.0f;
                if (wide) {
                    ((float *)(uintptr_t)to)[(p * depth + k) * PANEL + j] = x;
                    continue;
                }
                uint32_t bits; /* exactly representable, so the low half is zero */
                memcpy(&bits, &x, 4);
                uint16_t *word = (uint16_t *)((uint32_t *)(uintptr_t)to + (p * depth + k) * HALF + j % HALF);
                uint32_t whole;
                memcpy(&whole, word, 4);
                whole = j < HALF ? (whole & 0xFFFF0000u) | bits >> 16 : (whole & 0xFFFFu) | (bits & 0xFFFF0000u);
                memcpy(word, &whole, 4);
            }
        }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static int read_matrix(PyObject *from, Matrix *to)
{
    unsigned long long panels, bias, scales;
    int kind; /* 0, 1 wide, 2 pairs */
    if (!PyArg_ParseTuple(from, "KKKiii", &panels, &bias, &scales, &to->outputs, &to->depth, &kind)) return 0;
    to->wide = kind == 1, to->pairs = kind == 2;
    to->panels = (const void *)(uintptr_t)panels, to->bias = (const float *)(uintptr_t)bias;
    to->scales = (const float *)(uintptr_t)scales;
    to->count = (int)(padded(to->outputs) / PANEL);
    return 1;
}

static int read_layer(PyObject *from, Layer *to)
{
    PyObject *qkv, *out, *gate_up, *down;
    unsigned long long before, between, head;
    if (!PyArg_ParseTuple(from, "O!O!O!O!KKK", &PyTuple_Type, &qkv, &PyTuple_Type, &out, &PyTuple_Type, &gate_up,
                          &PyTuple_Type, &down, &before, &between, &head))
        return 0;
    to->before = (const float *)(uintptr_t)before, to->between = (const float *)(uintptr_t)between;
    to->head_gain = (const float *)(uintptr_t)head;
    return read_matrix(qkv, &to->qkv) && read_matrix(out, &to->out) && read_matrix(gate_up, &to->gate_up) &&
           read_matrix(down, &to->down);
}

static void free_handle(PyObject *capsule)
{
    Handle *handle = PyCapsule_GetPointer(capsule, MODEL);
    if (!handle) return;
    free_space(handle->space);
    free(handle->model.layers);
    free(handle);
}

/* create(vocab, hidden, heads, kv_heads, dim, inner, eps, embed, embed_wide, gain, head, layers) -> capsule */
static PyObject *py_create(PyObject *self, PyObject *args)
{
    unsigned long long embed, gain;
    PyObject *head, *layers;
    Handle *handle = calloc(1, sizeof(Handle));
    (void)self;
    if (!handle) return PyErr_NoMemory();
    Model *m = &handle->model;
    if (!PyArg_ParseTuple(args, "iiiiiifKpKO!O!", &m->vocab, &m->hidden, &m->heads, &m->kv_heads, &m->dim, &m->inner,
                          &m->eps, &embed, &m->embed_wide, &gain, &PyTuple_Type, &head, &PyList_Type, &layers))
        goto failed;
    m->embed = (const void *)(uintptr_t)embed, m->gain = (const float *)(uintptr_t)gain;
    m->num_layers = (int)PyList_GET_SIZE(layers);
    m->layers = calloc(m->num_layers + 1, sizeof(Layer));
    if (!m->layers) {
        PyErr_NoMemory();
        goto failed;
    }
    if (!read_matrix(head, &m->head)) goto failed;
    for (int i = 0; i < m->num_layers; i++)
        if (!read_layer(PyList_GET_ITEM(layers, i), m->layers + i)) goto failed;
    PyObject *capsule = PyCapsule_New(handle, MODEL, free_handle);
    if (capsule) return capsule;
failed:
    free(m->layers);
    free(handle);
    return NULL;
}

/* A list of whole numbers in [0, below) to memory. */
static int read_ints(PyObject *list, const char *name, Py_ssize_t count, long below, int *to)
{
    if (!PyList_Check(list) || PyList_GET_SIZE(list) != count) {
        PyErr_Format(PyExc_ValueError, "batch.%s must be a list of %zd numbers", name, count);
        return 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        long value = PyLong_AsLong(PyList_GET_ITEM(list, i));
        if (value == -1 && PyErr_Occurred()) return 0;
        if (value < 0 || value >= below) {
            PyErr_Format(PyExc_ValueError, "batch.%s[%zd] is %ld, which is not in [0, %ld)", name, i, value, below);
            return 0;
        }
        to[i] = (int)value;
    }
    return 1;
}

/* Segments, parents first, each within the cache. */
static int read_segments(PyObject *list, Py_ssize_t count, long cache_slots, Segment *to)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *one = PyList_GET_ITEM(list, i);
        if (!PyTuple_Check(one) || PyTuple_GET_SIZE(one) != 3) {
            PyErr_SetString(PyExc_ValueError, "batch.segments must hold (parent, start, length)");
            return 0;
        }
        long parent = PyLong_AsLong(PyTuple_GET_ITEM(one, 0)), start = PyLong_AsLong(PyTuple_GET_ITEM(one, 1));
        long length = PyLong_AsLong(PyTuple_GET_ITEM(one, 2));
        if (PyErr_Occurred()) return 0;
        if (parent < -1 || parent >= i || start < 0 || length < 0 || start + length > cache_slots) {
            PyErr_Format(PyExc_ValueError,
                         "segment %zd (parent %ld, slots %ld to %ld) does not come after its parent or is beyond the "
                         "%ld slots of the store; grow it first", i, parent, start, start + length, cache_slots);
            return 0;
        }
        to[i].parent = (int)parent, to[i].start = (int)start, to[i].length = (int)length;
        to[i].begin = parent < 0 ? 0 : to[parent].begin + to[parent].length;
    }
    return 1;
}

typedef struct {
    PyObject *tokens, *positions, *slots, *segment, *visible, *wanted, *segments;
} Lists;

/* The seven lists of a Batch, borrowed: the batch holds them while the call lasts. */
static int lists_of(PyObject *batch, Lists *to)
{
    static const char *const names[] = {"tokens", "positions", "slots", "segment", "visible", "wanted", "segments"};
    PyObject **fields[] = {&to->tokens, &to->positions, &to->slots, &to->segment, &to->visible, &to->wanted,
                           &to->segments};
    for (int i = 0; i < 7; i++) {
        PyObject *list = PyObject_GetAttrString(batch, names[i]);
        if (!list) return 0;
        *fields[i] = list;
        Py_DECREF(list);
        if (!PyList_Check(list)) {
            PyErr_Format(PyExc_ValueError, "batch.%s must be a list", names[i]);
            return 0;
        }
    }
    return 1;
}

/* Everything of a batch to memory, checked; `context[row]` is how many slots a row sees. */
static int read_batch(const Lists *from, const Model *model, Space *space, Pass *pass, long num_turns)
{
    const Py_ssize_t rows = PyList_GET_SIZE(from->tokens), count = PyList_GET_SIZE(from->segments);
    const Py_ssize_t wanted = PyList_GET_SIZE(from->wanted);
    if (!room((void **)&space->ints, &space->int_room, 6 * rows + wanted, sizeof(int))) return 0;
    if (!room((void **)&space->segments, &space->segment_room, count, sizeof(Segment))) return 0;
    int *tokens = space->ints, *positions = tokens + rows, *slots = positions + rows, *segment = slots + rows;
    int *context = segment + rows, *list = context + rows;
    if (!read_ints(from->tokens, "tokens", rows, model->vocab, tokens) ||
        !read_ints(from->positions, "positions", rows, num_turns, positions) ||
        !read_ints(from->slots, "slots", rows, pass->cache_slots, slots) ||
        !read_ints(from->segment, "segment", rows, count, segment) ||
        !read_ints(from->visible, "visible", rows, pass->cache_slots + 1, context) ||
        !read_ints(from->wanted, "wanted", wanted, rows, list) ||
        !read_segments(from->segments, count, pass->cache_slots, space->segments))
        return 0;
    for (Py_ssize_t i = 0; i < rows; i++) {
        const Segment *own = space->segments + segment[i];
        if (context[i] < 1 || context[i] > own->length) {
            PyErr_Format(PyExc_ValueError, "row %zd sees %d of the %d slots of its segment", i, context[i],
                         own->length);
            return 0;
        }
        context[i] += own->begin;
    }
    for (Py_ssize_t i = 1; i < wanted; i++)
        if (list[i] <= list[i - 1]) {
            PyErr_SetString(PyExc_ValueError, "batch.wanted must ascend");
            return 0;
        }
    pass->rows = (int)rows, pass->num_wanted = (int)wanted;
    pass->tokens = tokens, pass->positions = positions, pass->slots = slots, pass->context = context;
    pass->wanted = list;
    pass->num_chunks = plan_attention(space->segments, segment, context, (int)rows, model->heads / model->kv_heads,
                                      &space->chunks, &space->chunk_room, &space->tasks, &space->task_room);
    if (pass->num_chunks < 0) PyErr_NoMemory();
    pass->chunks = space->chunks, pass->tasks = space->tasks;
    return pass->num_chunks >= 0;
}

/* Memory for the stream and everything else that has a line a row. */
static int lay_out(const Model *model, Space *space, Pass *pass)
{
    const long rows = pass->rows;
    pass->wide_hidden = padded(model->hidden);
    pass->wide_qkv = padded((model->heads + 2L * model->kv_heads) * model->dim);
    pass->wide_mixed = padded((long)model->heads * model->dim);
    pass->wide_inner = padded(model->inner);
    const long more = rounds(&model->head) || (model->num_layers && rounds(&model->layers->qkv))
                          ? rounded_line(model) / (long)sizeof(float) : 0;
    const long line = 2 * pass->wide_hidden + pass->wide_qkv + pass->wide_mixed + pass->wide_inner + more;
    if (!room((void **)&space->floats, &space->float_room, rows * line, sizeof(float))) return 0;
    pass->x = space->floats;
    pass->normed = pass->x + rows * pass->wide_hidden;
    pass->qkv = pass->normed + rows * pass->wide_hidden;
    pass->mixed = pass->qkv + rows * pass->wide_qkv;
    pass->inner = pass->mixed + rows * pass->wide_mixed;
    pass->lines = (char *)(pass->inner + rows * pass->wide_inner);
    return 1;
}

typedef struct {
    const Kernels *kernels;
    float *logits;
    int vocab, count;
    float temperature;
    struct Drawing {
        int row, token;
        float logprob;
        uint64_t key;
        uint32_t position, a, b;
    } *drawings;
} Draws;

#define DRAWS_AT_ONCE 8

static void draw_item(void *what, int item, int thread)
{
    const Draws *all = what;
    const int last = (item + 1) * DRAWS_AT_ONCE;
    (void)thread;
    for (int i = item * DRAWS_AT_ONCE; i < last && i < all->count; i++) {
        struct Drawing *d = all->drawings + i;
        all->kernels->draw(all->logits + (long)d->row * all->vocab, all->vocab, all->temperature, d->a, d->b,
                           &d->token, &d->logprob);
    }
}

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x21F0AAADu;
    x ^= x >> 15;
    x *= 0xD35A2D97u;
    return x ^ (x >> 15);
}

/* The noise of a draw is that of its key and position: rng.row_words. */
static void place_noise(struct Drawing *d, uint32_t position)
{
    d->position = position;
    d->a = mix((uint32_t)d->key ^ mix(position + 0x9E3779B1u));
    d->b = mix((uint32_t)(d->key >> 32) ^ mix(position * 0x9E3779B1u + 0x21F0AAADu));
}

/* What a Draw says: (row, key, position, ...). */
static int read_draw(PyObject *from, long rows, struct Drawing *to)
{
    if (!PyTuple_Check(from) || PyTuple_GET_SIZE(from) < 3) {
        PyErr_SetString(PyExc_TypeError, "a draw is (row, key, position, ...)");
        return 0;
    }
    long row = PyLong_AsLong(PyTuple_GET_ITEM(from, 0));
    uint64_t key = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(from, 1));
    uint32_t position = (uint32_t)PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(from, 2));
    if (PyErr_Occurred()) return 0;
    if (row < 0 || row >= rows) {
        PyErr_Format(PyExc_ValueError, "a draw is of row %ld of %ld", row, rows);
        return 0;
    }
    to->row = (int)row, to->key = key;
    place_noise(to, position);
    return 1;
}

/* The drawings of a list of Draws, to be freed; NULL with an error set. */
static struct Drawing *read_draws(PyObject *list, long rows)
{
    const Py_ssize_t count = PyList_GET_SIZE(list);
    struct Drawing *drawings = malloc((count + 1) * sizeof(struct Drawing));
    if (!drawings) return (void *)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++)
        if (!read_draw(PyList_GET_ITEM(list, i), rows, drawings + i)) {
            free(drawings);
            return NULL;
        }
    return drawings;
}

/* [(token, logprob, ())] */
static PyObject *list_drawn(const struct Drawing *drawings, int count)
{
    PyObject *found = PyList_New(count);
    for (int i = 0; found && i < count; i++) {
        PyObject *one = Py_BuildValue("(id())", drawings[i].token, (double)drawings[i].logprob);
        if (!one) Py_CLEAR(found);
        else PyList_SET_ITEM(found, i, one);
    }
    return found;
}

/* Several passes in one call: after each, what is drawn from its rows goes in as the next one. */
typedef struct {
    Draws draws;
    const char *ends; /* by token: whether the step that draws it is the last */
    int most, done, rows;
    double seconds; /* of the draws */
    struct Drawing *taken; /* [most, rows] */
} Writing;

static void draw_rows(const Draws *draws)
{
    pool_run(draw_item, (void *)draws, (draws->count + DRAWS_AT_ONCE - 1) / DRAWS_AT_ONCE);
}

/* Every row one slot, one position and one token on. Leaves have no children, so no view but theirs changes. */
static int step_on(Space *space, Pass *pass, const Writing *writing)
{
    const int rows = pass->rows, group = pass->model->heads / pass->model->kv_heads;
    int *tokens = space->ints, *positions = tokens + rows, *slots = positions + rows, *segment = slots + rows;
    int *context = segment + rows;
    for (int i = 0; i < rows; i++) {
        positions[i]++, slots[i]++, context[i]++;
    }
    for (int i = 0; i < writing->draws.count; i++) { /* those of a row are equal */
        const struct Drawing *d = writing->draws.drawings + i;
        tokens[d->row] = d->token;
    }
    pass->num_chunks = plan_attention(space->segments, segment, context, rows, group, &space->chunks,
                                      &space->chunk_room, &space->tasks, &space->task_room);
    pass->chunks = space->chunks, pass->tasks = space->tasks;
    return pass->num_chunks >= 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* Draw; whether another step is to follow. */
static int take_step(Writing *writing)
{
    Draws *draws = &writing->draws;
    int is_last = ++writing->done == writing->most;
    const double began = now();
    draw_rows(draws);
    writing->seconds += now() - began;
    memcpy(writing->taken + (long)(writing->done - 1) * draws->count, draws->drawings,
           draws->count * sizeof(struct Drawing));
    for (int i = 0; i < draws->count; i++) {
        struct Drawing *d = draws->drawings + i;
        is_last |= writing->ends[d->token] | (i && d[-1].row == d->row && d[-1].token != d->token);
        place_noise(d, d->position + 1);
    }
    draws->logits += (long)writing->rows * draws->vocab;
    return !is_last;
}

/* One pass; with `writing`, passes until one of them is the last. */
static int run(const Kernels *kernels, Space *space, Pass *pass, Order *order, Writing *writing)
{
    int enough;
    order->scratch_size = pass_scratch(pass->model, kernels);
    Py_BEGIN_ALLOW_THREADS
    order->areas = pool_begin(order->threads);
    const long needed = order->areas * order->scratch_size;
    if (!space->scratch || space->scratch_room < needed) { /* not by room(): there is no interpreter to tell */
        free(space->scratch);
        space->scratch_room = needed;
        if (posix_memalign((void **)&space->scratch, 64, needed * sizeof(float))) space->scratch = NULL;
    }
    order->scratch = space->scratch;
    enough = order->scratch != NULL;
    if (enough) pass_run(kernels, pass, order);
    while (enough && writing && take_step(writing)) {
        order->out = writing->draws.logits;
        enough = step_on(space, pass, writing);
        if (enough) pass_run(kernels, pass, order);
    }
    pool_end();
    Py_END_ALLOW_THREADS
    if (!enough) PyErr_NoMemory();
    return enough;
}

/* Whether so many steps have room, and every row is drawn from, draws row by row. */
static int may_write(const Pass *pass, const Order *order, long num_turns, const Kernels *kernels, Writing *writing)
{
    Draws *draws = &writing->draws;
    draws->kernels = kernels, draws->logits = order->out;
    int ok = pass->rows && pass->num_wanted == pass->rows && draws->count >= pass->rows && !order->only_hidden &&
             draws->vocab == pass->model->vocab && draws->drawings[draws->count - 1].row == pass->rows - 1;
    for (int i = 0, row = 0; ok && i < draws->count; i++) { /* row by row, each at least once */
        ok = draws->drawings[i].row == row || (i && draws->drawings[i].row == ++row);
    }
    for (int i = 0; ok && i < pass->rows; i++)
        ok = pass->positions[i] + (long)writing->most <= num_turns &&
             pass->slots[i] + (long)writing->most <= pass->cache_slots;
    writing->rows = pass->rows;
    if (!ok) PyErr_SetString(PyExc_ValueError, "several steps need draws row by row, of each row at least one, and room for all");
    return ok;
}

/* What `forward` and `write` both take: model, level, threads, batch, cache, cache_slots, head_slots, cache_half,
 * turns, num_turns, layers, only_hidden, out. Heads of the cache lie `head_slots` slots apart; `layers` are run in the
 * order given; `out` is [wanted, vocab], or [wanted, hidden] of the last norm; that of `write` [steps, wanted, vocab]. */
#define COMMON 13

static int pass_of(PyObject *const *args, Writing *writing)
{
    Handle *handle = PyCapsule_GetPointer(args[0], MODEL);
    const Kernels *kernels = handle ? find_level(args[1]) : NULL;
    Lists lists;
    if (!kernels || !lists_of(args[3], &lists)) return 0;
    Pass pass = {.model = &handle->model};
    Order order = {.threads = (int)PyLong_AsLong(args[2])};
    pass.cache = (char *)PyLong_AsVoidPtr(args[4]), pass.cache_slots = PyLong_AsLong(args[5]);
    pass.head_slots = PyLong_AsLong(args[6]);
    pass.cache_half = PyObject_IsTrue(args[7]);
    pass.turns = (const float *)PyLong_AsVoidPtr(args[8]);
    const long num_turns = PyLong_AsLong(args[9]);
    order.only_hidden = PyObject_IsTrue(args[11]);
    order.out = (float *)PyLong_AsVoidPtr(args[12]);
    if (PyErr_Occurred()) return 0;
    if (order.threads < 1) order.threads = 1;
    if (!PyList_Check(args[10])) {
        PyErr_SetString(PyExc_TypeError, "layers must be a list");
        return 0;
    }
    order.num_layers = (int)PyList_GET_SIZE(args[10]);
    int *layers = malloc((order.num_layers + 1) * sizeof(int));
    Space *space = handle->space;
    handle->space = NULL; /* a pass of another thread makes its own */
    if (!space) space = calloc(1, sizeof(Space));
    int ok = layers && space;
    if (!ok) PyErr_NoMemory();
    order.layers = layers;
    ok = ok && read_ints(args[10], "layers", order.num_layers, handle->model.num_layers, layers) &&
         read_batch(&lists, &handle->model, space, &pass, num_turns) && lay_out(&handle->model, space, &pass) &&
         (!writing || may_write(&pass, &order, num_turns, kernels, writing)) &&
         (!pass.rows || run(kernels, space, &pass, &order, writing));
    free(layers);
    if (handle->space || !space) free_space(space);
    else handle->space = space;
    return ok;
}

/* forward(...): one pass. */
static PyObject *py_forward(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count != COMMON) {
        PyErr_Format(PyExc_TypeError, "forward takes %d arguments", COMMON);
        return NULL;
    }
    if (!pass_of(args, NULL)) return NULL;
    Py_RETURN_NONE;
}

/* write(..., draws, temperature, steps, ends) -> ([[(token, logprob, ())] of each step], seconds of the draws) */
static PyObject *py_write(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Writing w = {0};
    PyObject *found = NULL;
    (void)self;
    if (count != COMMON + 4 || !PyList_Check(args[COMMON]) || !PyBytes_Check(args[COMMON + 3])) {
        PyErr_Format(PyExc_TypeError, "write takes %d arguments, then a list, two numbers and bytes", COMMON);
        return NULL;
    }
    w.draws.count = (int)PyList_GET_SIZE(args[COMMON]);
    w.draws.temperature = (float)PyFloat_AsDouble(args[COMMON + 1]);
    w.most = (int)PyLong_AsLong(args[COMMON + 2]);
    w.draws.vocab = (int)PyBytes_GET_SIZE(args[COMMON + 3]);
    w.ends = PyBytes_AS_STRING(args[COMMON + 3]);
    if (PyErr_Occurred()) return NULL;
    if (w.most < 1) return PyErr_Format(PyExc_ValueError, "%d steps: at least one", w.most);
    w.draws.drawings = read_draws(args[COMMON], w.draws.count);
    w.taken = malloc(((size_t)w.most * w.draws.count + 1) * sizeof(struct Drawing));
    if (!w.taken) PyErr_NoMemory();
    if (w.draws.drawings && w.taken && pass_of(args, &w)) found = PyList_New(w.done);
    for (int i = 0; found && i < w.done; i++) {
        PyObject *step = list_drawn(w.taken + (long)i * w.draws.count, w.draws.count);
        if (!step) Py_CLEAR(found);
        else PyList_SET_ITEM(found, i, step);
    }
    free(w.draws.drawings);
    free(w.taken);
    return found ? Py_BuildValue("(Nd)", found, w.seconds) : NULL;
}

/* draw(level, threads, logits, rows, vocab, temperature, draws) -> [(token, logprob, ())] */
static PyObject *py_draw(PyObject *self, PyObject *args)
{
    PyObject *level, *list, *found;
    unsigned long long logits;
    long rows;
    int threads;
    Draws all;
    (void)self;
    if (!PyArg_ParseTuple(args, "UiKlifO!", &level, &threads, &logits, &rows, &all.vocab, &all.temperature,
                          &PyList_Type, &list))
        return NULL;
    all.kernels = find_level(level);
    if (!all.kernels) return NULL;
    all.logits = (float *)(uintptr_t)logits;
    all.count = (int)PyList_GET_SIZE(list);
    all.drawings = read_draws(list, rows);
    if (!all.drawings) return NULL;
    Py_BEGIN_ALLOW_THREADS
    pool_begin(all.count > DRAWS_AT_ONCE ? threads : 1);
    draw_rows(&all);
    pool_end();
    Py_END_ALLOW_THREADS
    found = list_drawn(all.drawings, all.count);
    free(all.drawings);
    return found;
}

/* Draws from one row after the other, a position on each; the first that is not as told, or ends, is the last. */
typedef struct {
    Draws draws; /* one */
    const char *ends;
    int rows;
    const float **logits;
    int *told;
    struct Drawing *taken;
} Along;

static int draw_along(Along *along)
{
    struct Drawing *d = along->draws.drawings;
    for (int i = 0; i < along->rows; i++) {
        along->draws.logits = (float *)along->logits[i];
        draw_item(&along->draws, 0, 0);
        along->taken[i] = *d;
        if (d->token != along->told[i] || along->ends[d->token]) return i + 1;
        place_noise(d, d->position + 1);
    }
    return along->rows;
}

static int read_along(PyObject *addresses, PyObject *told, Along *to)
{
    for (int i = 0; i < to->rows; i++) {
        to->logits[i] = (const float *)(uintptr_t)PyLong_AsUnsignedLongLong(PyList_GET_ITEM(addresses, i));
        to->told[i] = (int)PyLong_AsLong(PyList_GET_ITEM(told, i));
    }
    return !PyErr_Occurred();
}

/* along(level, vocab, temperature, draw, [address, ...], [told, ...], ends) -> [(token, logprob, ())] */
static PyObject *py_along(PyObject *self, PyObject *args)
{
    PyObject *level, *draw, *addresses, *told, *found = NULL;
    Py_ssize_t room;
    struct Drawing drawing;
    Along along = {.draws = {.count = 1, .drawings = &drawing}};
    (void)self;
    if (!PyArg_ParseTuple(args, "UifOO!O!y#", &level, &along.draws.vocab, &along.draws.temperature, &draw,
                          &PyList_Type, &addresses, &PyList_Type, &told, &along.ends, &room))
        return NULL;
    along.draws.kernels = find_level(level);
    if (!along.draws.kernels || !read_draw(draw, 1, &drawing)) return NULL;
    along.rows = (int)PyList_GET_SIZE(addresses);
    if (PyList_GET_SIZE(told) != along.rows || room < along.draws.vocab)
        return PyErr_Format(PyExc_ValueError, "%d rows, %zd told; %d tokens, %zd of them known to end or not",
                            along.rows, PyList_GET_SIZE(told), along.draws.vocab, room);
    along.logits = malloc((along.rows + 1) * (sizeof(float *) + sizeof(int) + sizeof(struct Drawing)));
    if (!along.logits) return PyErr_NoMemory();
    along.taken = (struct Drawing *)(along.logits + along.rows + 1);
    along.told = (int *)(along.taken + along.rows + 1);
    if (read_along(addresses, told, &along)) {
        int count;
        Py_BEGIN_ALLOW_THREADS
        count = draw_along(&along);
        Py_END_ALLOW_THREADS
        found = list_drawn(along.taken, count);
    }
    free(along.logits);
    return found;
}

/* ((token, logprob), ...) */
static PyObject *pairs_of(const int *tokens, const float *logprobs, int count)
{
    PyObject *found = PyTuple_New(count);
    for (int i = 0; found && i < count; i++) {
        PyObject *one = Py_BuildValue("(id)", tokens[i], (double)logprobs[i]);
        if (!one) Py_CLEAR(found);
        else PyTuple_SET_ITEM(found, i, one);
    }
    return found;
}

#define MOST_LIKELIEST 64

/* likeliest(level, logits, rows, vocab, count, [row, ...]) -> [((token, logprob), ...)] */
static PyObject *py_likeliest(PyObject *self, PyObject *args)
{
    PyObject *level, *list;
    unsigned long long logits;
    int rows, vocab, count, tokens[MOST_LIKELIEST];
    float logprobs[MOST_LIKELIEST];
    (void)self;
    if (!PyArg_ParseTuple(args, "UKiiiO!", &level, &logits, &rows, &vocab, &count, &PyList_Type, &list)) return NULL;
    const Kernels *kernels = find_level(level);
    if (!kernels) return NULL;
    if (count < 1 || count > MOST_LIKELIEST || count > vocab)
        return PyErr_Format(PyExc_ValueError, "%d of %d tokens: 1 to %d, and no more than there are", count, vocab,
                            MOST_LIKELIEST);
    const Py_ssize_t size = PyList_GET_SIZE(list);
    PyObject *found = PyList_New(size);
    for (Py_ssize_t i = 0; found && i < size; i++) {
        const long row = PyLong_AsLong(PyList_GET_ITEM(list, i));
        if (row < 0 || row >= rows) {
            if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "row %ld of %d", row, rows);
            Py_CLEAR(found);
            break;
        }
        kernels->likeliest((const float *)(uintptr_t)logits + row * vocab, vocab, count, tokens, logprobs);
        PyObject *one = pairs_of(tokens, logprobs, count);
        if (!one) Py_CLEAR(found);
        else PyList_SET_ITEM(found, i, one);
    }
    return found;
}

static PyMethodDef methods[] = {
    {"levels", py_levels, METH_NOARGS, "Names of the kernels that this processor can run, fastest first."},
    {"pack", py_pack, METH_VARARGS, "A matrix to panels."},
    {"create", py_create, METH_VARARGS, "A model from addresses of its packed weights."},
    {"forward", (PyCFunction)(void (*)(void))py_forward, METH_FASTCALL, "One pass."},
    {"write", (PyCFunction)(void (*)(void))py_write, METH_FASTCALL, "Passes, each of what the last one drew."},
    {"draw", py_draw, METH_VARARGS, "Tokens from rows of logits."},
    {"along", py_along, METH_VARARGS, "Tokens from rows of logits that follow one another."},
    {"likeliest", py_likeliest, METH_VARARGS, "The likeliest tokens of rows of logits."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    pthread_atfork(NULL, NULL, pool_forked);
    return PyModule_Create(&module);
}
