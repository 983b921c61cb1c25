/* From rows of logits: one token, and the likeliest ones.
 *
 * One token: argmax over v of x_v / temperature + gumbel(key, position, v).
 *
 * The noise is that of core/rng.py to the bit: a hash of 32 bits, then -log(-log(u)) in double. Logarithms are
 * taken for few tokens only. With `best` a sum that is reached, v can win only if its noise is above
 * d = best - x_v, so if -log u < e^-d; and -log u >= 1 - u, which costs one comparison. */

INLINE vu mix_words(vu x)
{
    x ^= x >> 16;
    x *= 0x21F0AAADu;
    x ^= x >> 15;
    x *= 0xD35A2D97u;
    return x ^ (x >> 15);
}

INLINE float gumbel(uint32_t bits)
{
    double u = ((double)bits + 0.5) / 4294967296.0;
    return (float)-log(-log(u));
}

INLINE vu noise_bits(vu item, uint32_t a, uint32_t b)
{
    vu x = mix_words(item * 0x9E3779B1u + 0xD35A2D97u) + a;
    x ^= x >> 16;
    x *= 0x21F0AAADu;
    x ^= b;
    x ^= x >> 15;
    x *= 0xD35A2D97u;
    return x ^ (x >> 15);
}

/* VL logits from v on; what is beyond the vocabulary is -inf. */
INLINE vf logits_at(const float *x, int v, int vocab)
{
    if (v + VL <= vocab) return load(x + v);
    vf some = splat(-INFINITY);
    for (int i = 0; v + i < vocab; i++) some[i] = x[v + i];
    return some;
}

/* The largest logit of a row, and the log of the sum of e to each less that. */
INLINE float log_total(const float *x, int vocab, float *top)
{
    vf most = splat(-INFINITY), total = {0};
    for (int v = 0; v < vocab; v += VL) most = vmax(most, logits_at(x, v, vocab));
    *top = max_lanes(most);
    for (int v = 0; v < vocab; v += VL) total += vexp(logits_at(x, v, vocab) - *top);
    return logf(sum_lanes(total));
}

static void draw(const float *x, int vocab, float temperature, uint32_t a, uint32_t b, int *token, float *logprob)
{
    const float over = temperature > 0 ? temperature : 1.0f;
    float top;
    const float total = log_total(x, vocab, &top);
    int best = 0;
    while (best < vocab - 1 && x[best] != top) best++;
    if (temperature > 0) {
        static const uint32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        vu lane;
        memcpy(&lane, lanes, sizeof lane);
        vu first = noise_bits(lane * 0 + (uint32_t)best, a, b);
        float reached = x[best] / over + gumbel(first[0]);
        const float slack = 1e-3f + 1e-6f * fabsf(reached); /* more than sums in float32 are off by */
        const float bound = reached - slack;
        for (int v = 0; v < vocab; v += VL) {
            vf score = logits_at(x, v, vocab) / over;
            vu bits = noise_bits(lane + (uint32_t)v, a, b);
            vf least = (__builtin_convertvector(~bits, vf) + 0.5f) * 0x1p-32f; /* 1 - u */
            vi can = least <= vexp(score - bound);
            int32_t hits[VL];
            memcpy(hits, &can, sizeof hits);
            int any = 0;
            for (int i = 0; i < VL; i++) any |= hits[i];
            if (!any) continue;
            for (int i = 0; i < VL; i++) {
                if (!hits[i] || v + i >= vocab) continue;
                float sum = score[i] + gumbel(bits[i]);
                if (sum > reached || (sum == reached && v + i < best)) reached = sum, best = v + i;
            }
        }
    }
    *token = best;
    *logprob = (x[best] - top) - total;
}

/* Insertion into a short list; few values are above its last one, and the rest costs one comparison. */
static void likeliest(const float *x, int vocab, int count, int *tokens, float *logprobs)
{
    float top;
    const float total = log_total(x, vocab, &top);
    int held = 0;
    for (int v = 0; v < vocab; v += VL) {
        if (held == count) {
            vi above = logits_at(x, v, vocab) > logprobs[count - 1];
            int32_t hits[VL];
            memcpy(hits, &above, sizeof hits);
            int any = 0;
            for (int i = 0; i < VL; i++) any |= hits[i];
            if (!any) continue;
        }
        for (int i = v; i < v + VL && i < vocab; i++) {
            if (held == count && !(x[i] > logprobs[count - 1])) continue;
            int at = held < count ? held++ : count - 1;
            for (; at && logprobs[at - 1] < x[i]; at--)
                logprobs[at] = logprobs[at - 1], tokens[at] = tokens[at - 1];
            logprobs[at] = x[i], tokens[at] = i;
        }
    }
    for (int i = 0; i < count; i++) logprobs[i] = (logprobs[i] - top) - total;
}
