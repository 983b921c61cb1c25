/* What is done to one row at a time: embedding, norms, rotary embedding, and its cell of the cache. */

static void norm(const float *x, const float *gain, float *out, int rows, long stride, int width, float eps)
{
    const long wide = padded(width); /* what is beyond the width is zero */
    for (int r = 0; r < rows; r++, x += stride, out += stride) {
        vf a = {0}, b = {0};
        for (long i = 0; i < wide; i += 2 * VL) {
            vf u = load(x + i), v = load(x + i + VL);
            a += u * u;
            b += v * v;
        }
        float by = 1.0f / sqrtf(sum_lanes(a + b) + (float)width * eps);
        for (long i = 0; i < wide; i += VL) store(out + i, load(x + i) * by * load(gain + i));
    }
}

static void embed(const Pass *pass, int row)
{
    const Model *model = pass->model;
    const long width = model->hidden, from = pass->tokens[row] * width;
    float *x = pass->x + row * pass->wide_hidden;
    if (model->embed_wide)
        memcpy(x, (const float *)model->embed + from, width * sizeof(float));
    else
        widen(x, (const uint16_t *)model->embed + from, model->hidden);
    memset(x + width, 0, (pass->wide_hidden - width) * sizeof(float));
}

/* One head, in place of nothing: norm it if there is a gain, turn its pairs, multiply by `by`. */
INLINE void turn_head(const float *x, float *out, const float *gain, const float *turns, int dim, float eps,
                      float by)
{
    float inverse = 1.0f;
    if (gain) {
        float sum = 0.0f;
        for (int i = 0; i < dim; i++) sum += x[i] * x[i];
        inverse = 1.0f / sqrtf(sum + (float)dim * eps);
    }
    for (int i = 0; i < dim; i += 2) {
        float re = x[i], im = x[i + 1];
        if (gain) re *= inverse * gain[i], im *= inverse * gain[i + 1];
        out[i] = (re * turns[i] - im * turns[i + 1]) * by;
        out[i + 1] = (re * turns[i + 1] + im * turns[i]) * by;
    }
}

static void turn(const Pass *pass, int layer, int head, int first, int last)
{
    const Model *model = pass->model;
    const int dim = model->dim, heads = model->heads, kv = model->kv_heads;
    const float *gain = model->layers[layer].head_gain;
    const float by = 1.0f / sqrtf((float)dim);
    float key[dim];
    for (int row = first; row < last; row++) {
        float *x = pass->qkv + row * pass->wide_qkv;
        const float *turns = pass->turns + (long)pass->positions[row] * dim;
        for (int h = head; h < heads; h += kv) { /* query heads are in the order (group, key head) */
            float *q = x + (long)h * dim;
            turn_head(q, q, gain ? gain + (long)h * dim : NULL, turns, dim, model->eps, by);
        }
        const float *k = x + (long)(heads + head) * dim, *v = k + (long)kv * dim;
        turn_head(k, key, gain ? gain + (long)(heads + head) * dim : NULL, turns, dim, model->eps, 1.0f);
        long at = (((long)layer * kv + head) * pass->head_slots + pass->slots[row]) * 2 * dim;
        if (pass->cache_half) {
            uint16_t *to = (uint16_t *)pass->cache + at;
            for (int i = 0; i < dim; i++) to[i] = to_half(key[i]);
            for (int i = 0; i < dim; i++) to[dim + i] = to_half(v[i]);
        } else {
            float *to = (float *)pass->cache + at;
            memcpy(to, key, dim * sizeof(float));
            memcpy(to + dim, v, dim * sizeof(float));
        }
    }
}
