// Attention of bfloat16 queries, keys and values of 64 channels a head, on CPUs with AMX; without gradients.
//
// A head's keys and values are laid out as tiles once. Then, 16 queries at a time, the products of the next 32 keys,
// the exponentials of these 32 and the products with the values before them are mixed instruction by instruction: the
// tile unit and the vector units work at the same time. Sums of values stay in tiles from the first key to the last.
//
// The exponentials are taken of the scores as they are if the lengths of queries and keys bound them (float32 and
// bfloat16 have room for 2^60 and 2^-60); else the largest score of each query is found first, and subtracted.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <torch/library.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

namespace {

using bf16 = uint16_t;

constexpr int64_t CHANNELS = 64;
constexpr int64_t ROWS = 16;        // of a tile, and queries at a time
constexpr int64_t STEP = 32;        // keys at a time: a tile of bfloat16 is 16 x 32
constexpr int64_t TILE_BYTES = 1024;
constexpr int64_t TILE_FLOATS = 256;
constexpr int64_t TILE_BF16 = 512;
constexpr int64_t MAX_BLOCK_KEYS = 4096;   // their tiles take half of a second-level cache of 2 MiB
constexpr int64_t TASK_QUERIES = 256;
constexpr float MAX_BOUND = 60.0f;  // of scores in powers of two
constexpr float LOG2_E = 1.44269504f;

// Tiles have fixed numbers here, as compilers want them: 0 to 3 are sums of values, 16 channels each, 4 and 5 scores of
// 16 keys each, 6 and 7 the operands of a product.

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t num_rows[16] = {};
};

void configure_tiles() {
  TileConfig config;
  for (int tile = 0; tile < 8; tile++) {
    config.row_bytes[tile] = 64;
    config.num_rows[tile] = ROWS;
  }
  _tile_loadconfig(&config);
}

bool has_tiles() {
  // The kernel gives a process room for tiles when it asks (ARCH_REQ_XCOMP_PERM of XFEATURE_XTILE_DATA).
  static const bool is_permitted = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  return is_permitted;
}

template <typename T>
struct Free {
  void operator()(T* memory) const { std::free(memory); }
};
template <typename T>
using Buffer = std::unique_ptr<T[], Free<T>>;

template <typename T>
Buffer<T> allocate(int64_t size) {
  const int64_t bytes = (size * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
  auto* memory = static_cast<T*>(std::aligned_alloc(64, bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer<T>(memory);
}

// A head of a segment: rows of 64 channels at a distance.
struct Rows {
  const bf16* first;
  int64_t stride;

  __m512i load(int64_t row, int64_t half) const { return _mm512_loadu_si512(first + row * stride + half * 32); }
};

float squared_length(__m512i first, __m512i second) {
  __m512 sum = _mm512_setzero_ps();
  sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(first), reinterpret_cast<__m512bh>(first));
  sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(second), reinterpret_cast<__m512bh>(second));
  return _mm512_reduce_add_ps(sum);
}

// Transpose 16 x 16 values of 32 bits: four rounds that exchange ever larger squares.
void transpose(const __m512i (&from)[16], __m512i (&to)[16]) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(from[i], from[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(from[i], from[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + j + 2]);
      b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; j++) {
      a[i + j] = _mm512_shuffle_i32x4(b[i + j], b[i + j + 4], 0x88);
      a[i + j + 4] = _mm512_shuffle_i32x4(b[i + j], b[i + j + 4], 0xdd);
    }
  for (int j = 0; j < 8; j++) {
    to[j] = _mm512_shuffle_i32x4(a[j], a[j + 8], 0x88);
    to[j + 8] = _mm512_shuffle_i32x4(a[j], a[j + 8], 0xdd);
  }
}

// Keys as tiles of pairs of channels (rows) by keys (columns), two for each 16 keys. Returns their greatest length,
// squared.
float lay_out_keys(Rows keys, int64_t num_keys, int64_t num_steps, bf16* to) {
  float longest = 0.0f;
  __m512i rows[2][16], columns[16];
  for (int64_t tile = 0; tile < 2 * num_steps; tile++) {
    for (int64_t row = 0; row < 16; row++) {
      const int64_t key = tile * 16 + row;
      for (int half = 0; half < 2; half++)
        rows[half][row] = key < num_keys ? keys.load(key, half) : _mm512_setzero_si512();
      longest = std::max(longest, squared_length(rows[0][row], rows[1][row]));
    }
    for (int half = 0; half < 2; half++) {
      transpose(rows[half], columns);
      bf16* place = to + (2 * tile + half) * TILE_BF16;
      for (int64_t row = 0; row < 16; row++) _mm512_store_si512(place + row * 32, columns[row]);
    }
  }
  return longest;
}

// Values as tiles of pairs of keys (rows) by channels (columns), four for each 32 keys.
void lay_out_values(Rows values, int64_t num_keys, int64_t num_steps, bf16* to) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,  //
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (int64_t pair = 0; pair < 16 * num_steps; pair++) {
    bf16* row = to + pair / 16 * 4 * TILE_BF16 + pair % 16 * 32;
    for (int half = 0; half < 2; half++) {
      const __m512i first = 2 * pair < num_keys ? values.load(2 * pair, half) : _mm512_setzero_si512();
      const __m512i second = 2 * pair + 1 < num_keys ? values.load(2 * pair + 1, half) : _mm512_setzero_si512();
      _mm512_store_si512(row + 2 * half * TILE_BF16, _mm512_permutex2var_epi16(first, low, second));
      _mm512_store_si512(row + (2 * half + 1) * TILE_BF16, _mm512_permutex2var_epi16(first, high, second));
    }
  }
}

// Queries as they are, 16 by 32 channels a tile. Returns their greatest length, squared.
float lay_out_queries(Rows queries, int64_t start, int64_t num_queries, int64_t num_blocks, bf16* to) {
  float longest = 0.0f;
  for (int64_t row = 0; row < num_blocks * ROWS; row++) {
    __m512i halves[2];
    for (int half = 0; half < 2; half++) {
      halves[half] = row < num_queries ? queries.load(start + row, half) : _mm512_setzero_si512();
      _mm512_store_si512(to + (row / ROWS * 2 + half) * TILE_BF16 + row % ROWS * 32, halves[half]);
    }
    longest = std::max(longest, squared_length(halves[0], halves[1]));
  }
  return longest;
}

// 2^(score * scale - shift).
inline __attribute__((always_inline)) __m512 power(const float* scores, __m512 scale, __m512 shift) {
  const __m512 exponent = _mm512_fmsub_ps(_mm512_load_ps(scores), scale, shift);
  const __m512 fraction = _mm512_reduce_ps(exponent, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  // The polynomial that comes closest to 2^fraction between 0 and 1 (a fit: at most 7.5e-5 off).
  __m512 result = _mm512_fmadd_ps(_mm512_set1_ps(0.07802452f), fraction, _mm512_set1_ps(0.22606716f));
  result = _mm512_fmadd_ps(result, fraction, _mm512_set1_ps(0.69583354f));
  result = _mm512_fmadd_ps(result, fraction, _mm512_set1_ps(0.99992522f));
  return _mm512_scalef_ps(result, exponent);
}

// Which of the 32 keys of a step there are.
struct KeyMask {
  __mmask16 first, second;

  explicit KeyMask(int64_t num_keys)
      : first(num_keys >= 16 ? 0xffff : (1 << num_keys) - 1),
        second(num_keys >= 32 ? 0xffff : num_keys > 16 ? (1 << (num_keys - 16)) - 1 : 0) {}
};

inline __attribute__((always_inline)) void fence() { asm volatile("" ::: "memory"); }

// What a thread works with.
struct Scratch {
  Buffer<bf16> keys, values, queries;
  Buffer<float> sums;     // of values, by query
  Buffer<float> weights;  // sums of weights: 16 partial ones by query
  Buffer<float> shifts;   // by query
  alignas(64) float scores[2][2 * TILE_FLOATS];
  alignas(64) bf16 powers[2][TILE_BF16];

  explicit Scratch(int64_t num_steps)
      : keys(allocate<bf16>(num_steps * STEP * CHANNELS)),
        values(allocate<bf16>(num_steps * STEP * CHANNELS)),
        queries(allocate<bf16>(TASK_QUERIES * CHANNELS)),
        sums(allocate<float>(TASK_QUERIES * CHANNELS)),
        weights(allocate<float>(TASK_QUERIES * 16)),
        shifts(allocate<float>(TASK_QUERIES)) {}
};

// 16 queries.
struct Block {
  const bf16 *keys, *values, *queries;
  float *sums, *weights;
  const float* shifts;
  float (*scores)[2 * TILE_FLOATS];
  bf16 (*powers)[TILE_BF16];
  __m512 scale;

  // Weigh two of the queries by the scores of a step.
  template <int row, bool is_last>
  inline __attribute__((always_inline)) void weigh(int64_t step, KeyMask mask) {
    fence();
    for (int64_t query = row; query < row + 2; query++) {
      const __m512 shift = _mm512_set1_ps(shifts[query]);
      __m512 first = power(scores[step & 1] + query * 16, scale, shift);
      __m512 second = power(scores[step & 1] + TILE_FLOATS + query * 16, scale, shift);
      if (is_last) {
        first = _mm512_maskz_mov_ps(mask.first, first);
        second = _mm512_maskz_mov_ps(mask.second, second);
      }
      const __m512bh both = _mm512_cvtne2ps_pbh(second, first);
      // Sums of what values are multiplied by, rounded as it is: what rounding does to a large weight cancels out.
      float* weight = weights + query * 16;
      const auto bits = reinterpret_cast<__m512i>(both);
      const __m512 even = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
      const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(0xffff0000)));
      _mm512_store_ps(weight, _mm512_add_ps(_mm512_load_ps(weight), _mm512_add_ps(even, odd)));
      _mm512_store_si512(powers[step & 1] + query * 32, bits);
    }
    fence();
  }

  // Weights of a step, scores of the next one (unless it is the last), sums of values of the one before (unless first).
  template <bool is_first, bool is_last>
  inline __attribute__((always_inline)) void step(int64_t step, KeyMask mask) {
    const bf16* key = keys + (step + 1) * 4 * TILE_BF16;
    const bf16* value = values + (step - 1) * 4 * TILE_BF16;
    float* next = scores[(step + 1) & 1];
    if (!is_last) {
      _tile_zero(4);
      _tile_zero(5);
      _tile_loadd(6, queries, 64);
      _tile_loadd(7, key, 64);
      _tile_dpbf16ps(4, 6, 7);
    }
    weigh<0, is_last>(step, mask);
    if (!is_last) {
      _tile_loadd(7, key + 2 * TILE_BF16, 64);
      _tile_dpbf16ps(5, 6, 7);
    }
    weigh<2, is_last>(step, mask);
    if (!is_last) {
      _tile_loadd(6, queries + TILE_BF16, 64);
      _tile_loadd(7, key + TILE_BF16, 64);
      _tile_dpbf16ps(4, 6, 7);
    }
    weigh<4, is_last>(step, mask);
    if (!is_last) {
      _tile_loadd(7, key + 3 * TILE_BF16, 64);
      _tile_dpbf16ps(5, 6, 7);
    }
    weigh<6, is_last>(step, mask);
    if (!is_first) {
      _tile_loadd(6, powers[(step - 1) & 1], 64);
      _tile_loadd(7, value, 64);
      _tile_dpbf16ps(0, 6, 7);
    }
    weigh<8, is_last>(step, mask);
    if (!is_first) {
      _tile_loadd(7, value + TILE_BF16, 64);
      _tile_dpbf16ps(1, 6, 7);
    }
    weigh<10, is_last>(step, mask);
    if (!is_last) _tile_stored(4, next, 64);
    if (!is_first) {
      _tile_loadd(7, value + 2 * TILE_BF16, 64);
      _tile_dpbf16ps(2, 6, 7);
    }
    weigh<12, is_last>(step, mask);
    if (!is_last) _tile_stored(5, next + TILE_FLOATS, 64);
    if (!is_first) {
      _tile_loadd(7, value + 3 * TILE_BF16, 64);
      _tile_dpbf16ps(3, 6, 7);
    }
    weigh<14, is_last>(step, mask);
  }

  void score(int64_t step, float* to) const {
    const bf16* key = keys + step * 4 * TILE_BF16;
    _tile_zero(4);
    _tile_zero(5);
    for (int half = 0; half < 2; half++) {
      _tile_loadd(6, queries + half * TILE_BF16, 64);
      _tile_loadd(7, key + half * TILE_BF16, 64);
      _tile_dpbf16ps(4, 6, 7);
      _tile_loadd(7, key + (2 + half) * TILE_BF16, 64);
      _tile_dpbf16ps(5, 6, 7);
    }
    _tile_stored(4, to, 64);
    _tile_stored(5, to + TILE_FLOATS, 64);
  }

  // Add the weighted values of steps ``start`` to ``stop``; of the last one only ``mask``.
  void attend(int64_t start, int64_t stop, KeyMask mask) {
    if (start == 0) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      _tile_loadd(0, sums, 64);
      _tile_loadd(1, sums + TILE_FLOATS, 64);
      _tile_loadd(2, sums + 2 * TILE_FLOATS, 64);
      _tile_loadd(3, sums + 3 * TILE_FLOATS, 64);
    }
    score(start, scores[start & 1]);
    if (stop - start == 1) {
      step<true, true>(start, mask);
    } else {
      step<true, false>(start, mask);
      for (int64_t number = start + 1; number + 1 < stop; number++) step<false, false>(number, mask);
      step<false, true>(stop - 1, mask);
    }
    const bf16* value = values + (stop - 1) * 4 * TILE_BF16;
    _tile_loadd(6, powers[(stop - 1) & 1], 64);
    _tile_loadd(7, value, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, value + TILE_BF16, 64);
    _tile_dpbf16ps(1, 6, 7);
    _tile_loadd(7, value + 2 * TILE_BF16, 64);
    _tile_dpbf16ps(2, 6, 7);
    _tile_loadd(7, value + 3 * TILE_BF16, 64);
    _tile_dpbf16ps(3, 6, 7);
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + TILE_FLOATS, 64);
    _tile_stored(2, sums + 2 * TILE_FLOATS, 64);
    _tile_stored(3, sums + 3 * TILE_FLOATS, 64);
  }

  // Find the largest exponent of each query.
  void find_shifts(int64_t num_steps, KeyMask last, float* to) const {
    const __m512 least = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    __m512 largest[ROWS];
    std::fill(largest, largest + ROWS, least);
    for (int64_t step = 0; step < num_steps; step++) {
      score(step, scores[0]);
      const KeyMask mask = step + 1 < num_steps ? KeyMask(STEP) : last;
      for (int64_t query = 0; query < ROWS; query++) {
        const float* score = scores[0] + query * 16;
        largest[query] = _mm512_max_ps(largest[query], _mm512_mask_load_ps(least, mask.first, score));
        largest[query] = _mm512_max_ps(largest[query], _mm512_mask_load_ps(least, mask.second, score + TILE_FLOATS));
      }
    }
    for (int64_t query = 0; query < ROWS; query++)
      to[query] = _mm512_reduce_max_ps(largest[query]) * _mm512_cvtss_f32(scale);
  }
};

// Divide sums of values by sums of weights.
void write_row(const float* sums, const float* weights, bf16* to) {
  const __m512 factor = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(_mm512_load_ps(weights)));
  for (int64_t half = 0; half < 2; half++) {
    const float* from = sums + 2 * half * TILE_FLOATS;
    const __m512 first = _mm512_mul_ps(_mm512_load_ps(from), factor);
    const __m512 second = _mm512_mul_ps(_mm512_load_ps(from + TILE_FLOATS), factor);
    _mm512_storeu_si512(to + half * 32, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first)));
  }
}

Rows head_of(const at::Tensor& x, int64_t segment, int64_t head) {
  const auto* first = static_cast<const bf16*>(x.const_data_ptr());
  return {first + segment * x.stride(0) + head * x.stride(2), x.stride(1)};
}

void check(const at::Tensor& x, const at::Tensor& query, const char* name) {
  TORCH_CHECK(x.dim() == 4 && x.size(3) == CHANNELS, name, ": expected shape (S, N, K, 64), got ", x.sizes());
  TORCH_CHECK(x.sizes() == query.sizes(), name, ": expected the query's shape ", query.sizes(), ", got ", x.sizes());
  TORCH_CHECK(x.scalar_type() == at::kBFloat16 && x.device().is_cpu(), name, ": expected bfloat16 on the CPU");
  TORCH_CHECK(x.stride(3) == 1, name, ": expected channels side by side, got a stride of ", x.stride(3));
}

at::Tensor attend(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, double scale) {
  check(query, query, "query");
  check(key, query, "key");
  check(value, query, "value");
  TORCH_CHECK(has_tiles(), "the system gives this process no AMX tiles");
  const int64_t num_tokens = query.size(1), num_heads = query.size(2);
  at::Tensor out = at::empty(query.sizes(), query.options());
  if (out.numel() == 0) return out;
  auto* results = static_cast<bf16*>(out.mutable_data_ptr());
  const int64_t num_tasks = (num_tokens + TASK_QUERIES - 1) / TASK_QUERIES;
  const int64_t num_steps = (num_tokens + STEP - 1) / STEP;
  const int64_t num_key_blocks = (num_tokens + MAX_BLOCK_KEYS - 1) / MAX_BLOCK_KEYS;
  const int64_t block_steps = (num_steps + num_key_blocks - 1) / num_key_blocks;
  const KeyMask whole(STEP), last(num_tokens - (num_steps - 1) * STEP);
  const auto exponents_per_score = static_cast<float>(scale) * LOG2_E;

  at::parallel_for(0, query.size(0) * num_heads * num_tasks, 1, [&](int64_t begin, int64_t end) {
    configure_tiles();
    const auto scratch = std::make_unique<Scratch>(num_steps);
    int64_t laid_out = -1;
    float longest_key = 0.0f;
    for (int64_t task = begin; task < end; task++) {
      const int64_t segment = task / num_tasks / num_heads, head = task / num_tasks % num_heads;
      if (laid_out != task / num_tasks) {
        laid_out = task / num_tasks;
        longest_key = lay_out_keys(head_of(key, segment, head), num_tokens, num_steps, scratch->keys.get());
        lay_out_values(head_of(value, segment, head), num_tokens, num_steps, scratch->values.get());
      }
      const int64_t start = task % num_tasks * TASK_QUERIES;
      const int64_t num_queries = std::min(TASK_QUERIES, num_tokens - start);
      const int64_t num_blocks = (num_queries + ROWS - 1) / ROWS;
      const float longest_query =
          lay_out_queries(head_of(query, segment, head), start, num_queries, num_blocks, scratch->queries.get());
      const bool is_bounded = std::sqrt(longest_query * longest_key) * exponents_per_score <= MAX_BOUND;
      std::fill_n(scratch->weights.get(), num_blocks * ROWS * 16, 0.0f);
      std::fill_n(scratch->shifts.get(), num_blocks * ROWS, 0.0f);
      for (int64_t step = 0; step < num_steps; step += block_steps) {
        const int64_t stop = std::min(step + block_steps, num_steps);
        for (int64_t number = 0; number < num_blocks; number++) {
          float* shifts = scratch->shifts.get() + number * ROWS;
          Block block{scratch->keys.get(),
                      scratch->values.get(),
                      scratch->queries.get() + number * ROWS * CHANNELS,
                      scratch->sums.get() + number * ROWS * CHANNELS,
                      scratch->weights.get() + number * ROWS * 16,
                      shifts,
                      scratch->scores,
                      scratch->powers,
                      _mm512_set1_ps(exponents_per_score)};
          if (step == 0 && !is_bounded) block.find_shifts(num_steps, last, shifts);
          block.attend(step, stop, stop == num_steps ? last : whole);
        }
      }
      for (int64_t row = 0; row < num_queries; row++) {
        const float* sums = scratch->sums.get() + row / ROWS * ROWS * CHANNELS + row % ROWS * 16;
        bf16* to = results + ((segment * num_tokens + start + row) * num_heads + head) * CHANNELS;
        write_row(sums, scratch->weights.get() + row * 16, to);
      }
    }
    _tile_release();
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(cogvideox, library) {
  library.def("amx_attention(Tensor query, Tensor key, Tensor value, float scale) -> Tensor");
}
TORCH_LIBRARY_IMPL(cogvideox, CPU, library) { library.impl("amx_attention", &attend); }
