/* Vectors of the level that is being compiled: LEVEL 0 is any machine, 1 is AVX2 with FMA, 2 is AVX-512.
 * Included by level_*.c only, inside their target pragma. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if LEVEL == 2
#define VL 16     /* floats in a vector */
#define MR 6      /* rows of a product at once: MR x 4 sums stay in registers */
#define KEYS 4    /* vectors of keys at once */
#elif LEVEL == 1
#define VL 8
#define MR 3
#define KEYS 2
#else
#define VL 4
#define MR 3
#define KEYS 2
#endif

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef uint32_t vu __attribute__((vector_size(4 * VL)));
typedef int8_t vb __attribute__((vector_size(VL)));
typedef float vf_any __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint32_t vu_any __attribute__((vector_size(4 * VL), aligned(4), may_alias));

INLINE vf load(const float *p) { return *(const vf_any *)p; }
INLINE vu load_words(const uint32_t *p) { return *(const vu_any *)p; }
INLINE void store(float *p, vf x) { *(vf_any *)p = x; }
INLINE vf splat(float x) { return (vf){0} + x; } /* -0 becomes 0, which no sum here can tell */
INLINE vf both(vf x, vi mask) { return (vf)((vi)x & mask); }
INLINE vf choose(vi mask, vf x, vf y) { return (vf)(((vi)x & mask) | ((vi)y & ~mask)); }

#if LEVEL == 2
#include <immintrin.h>
INLINE vf vmax(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf vmin(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif LEVEL == 1
#include <immintrin.h>
INLINE vf vmax(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf vmin(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#else
INLINE vf vmax(vf a, vf b) { return choose(a > b, a, b); }
INLINE vf vmin(vf a, vf b) { return choose(a < b, a, b); }
#endif

/* Sum and maximum of the lanes, by halves: always the same tree. */
#if LEVEL > 0
INLINE __m128 halves_of(vf x, const int is_sum)
{
#if LEVEL == 2
    __m256 a = _mm512_castps512_ps256((__m512)x), b = _mm512_extractf32x8_ps((__m512)x, 1);
    a = is_sum ? _mm256_add_ps(a, b) : _mm256_max_ps(a, b);
#else
    __m256 a = (__m256)x;
#endif
    __m128 c = _mm256_castps256_ps128(a), d = _mm256_extractf128_ps(a, 1);
    c = is_sum ? _mm_add_ps(c, d) : _mm_max_ps(c, d);
    d = _mm_movehl_ps(c, c);
    c = is_sum ? _mm_add_ps(c, d) : _mm_max_ps(c, d);
    d = _mm_shuffle_ps(c, c, 1);
    return is_sum ? _mm_add_ss(c, d) : _mm_max_ss(c, d);
}
INLINE float sum_lanes(vf x) { return _mm_cvtss_f32(halves_of(x, 1)); }
INLINE float max_lanes(vf x) { return _mm_cvtss_f32(halves_of(x, 0)); }
#else
INLINE float sum_lanes(vf x)
{
    float v[VL];
    memcpy(v, &x, sizeof v);
    for (int n = VL / 2; n; n /= 2)
        for (int i = 0; i < n; i++) v[i] += v[i + n];
    return v[0];
}

INLINE float max_lanes(vf x)
{
    float v[VL];
    memcpy(v, &x, sizeof v);
    for (int n = VL / 2; n; n /= 2)
        for (int i = 0; i < n; i++) v[i] = v[i] > v[i + n] ? v[i] : v[i + n];
    return v[0];
}
#endif

/* e^x to about 1 ulp: x = n ln 2 + r, a polynomial in r (Cephes), n added to the exponent. Below -86.5,
 * where results would be denormal, 0; e^0 is exactly 1. */
INLINE vf vexp(vf x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    vi seen = x > -86.5f;
    x = vmin(vmax(x, splat(-86.5f)), splat(88.0f));
    vf t = x * 1.44269504088896341f + magic;
    vf n = t - magic;
    vf r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    vi scale = ((vi)t - 0x4B400000) << 23;
    return both((vf)((vi)p + scale), seen);
}

INLINE vf silu(vf x) { return x / (vexp(-x) + 1.0f); }

INLINE float from_half(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

typedef uint16_t vh __attribute__((vector_size(2 * VL)));
typedef uint16_t vh_any __attribute__((vector_size(2 * VL), aligned(2), may_alias));

/* bfloat16 numbers to float32. */
INLINE void widen(float *to, const uint16_t *from, const int n)
{
    int i = 0;
    for (; i + VL <= n; i += VL) {
#if LEVEL == 2 /* one operation, of which compilers make two halves */
        store(to + i, (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + i))), 16));
#else
        vh half = *(const vh_any *)(from + i);
        store(to + i, (vf)(__builtin_convertvector(half, vu) << 16));
#endif
    }
    for (; i < n; i++) to[i] = from_half(from[i]);
}

/* To bfloat16, to nearest, ties to even. */
INLINE uint16_t to_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FC0;
    return (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}
