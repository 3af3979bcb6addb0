// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "audit.hpp"

#include <algorithm>
#include <cmath>

namespace hisa::tools {

namespace {

/// Some of a query's pruned blocks: neighbours in the order of likelihood.
struct Stratum {
  std::int64_t first = 0, blocks = 0;
  std::vector<std::int32_t> drawn;
};

/// A token of a drawn block.
struct Token {
  float score;
  double weight; ///< pruned tokens that it stands for
  std::size_t stratum, block;
};

/// Strata of doubling sizes, about four blocks drawn from each, or all where there are no more.
std::vector<Stratum> draw(std::span<const std::int32_t> pruned, std::int64_t sample,
                          std::mt19937_64& random) {
  std::int64_t const n = std::int64_t(pruned.size());
  std::int64_t const count = sample >= n ? 1 : std::max<std::int64_t>(1, sample / 8);
  std::vector<Stratum> strata;
  std::int64_t first = 0;
  for (std::int64_t h = 0; h < count; ++h) {
    double const share = (std::exp2(double(h + 1)) - 1) / (std::exp2(double(count)) - 1);
    std::int64_t const drawn = sample * (h + 1) / count - sample * h / count;
    std::int64_t end = std::max(first + drawn, std::int64_t(share * double(n)));
    end = h + 1 == count ? n : std::min(end, n);
    Stratum stratum{first, end - first, {}};
    std::sample(pruned.begin() + first, pruned.begin() + end, std::back_inserter(stratum.drawn),
                sample >= n ? n : drawn, random);
    strata.push_back(std::move(stratum));
    first = end;
  }
  return strata;
}

/// The variance of the estimated number of pruned tokens above a score.
double variance_above(const std::vector<Stratum>& strata, std::span<const Token> above) {
  double variance = 0;
  for (std::size_t h = 0; h < strata.size(); ++h) {
    double const N = double(strata[h].blocks), n = double(strata[h].drawn.size());
    if (n < 2 || n == N)
      continue;
    std::vector<double> counts(strata[h].drawn.size(), 0.0);
    double sum = 0, squares = 0;
    for (const Token& token : above)
      if (token.stratum == h)
        ++counts[token.block];
    for (double c : counts)
      sum += c, squares += c * c;
    double const deviation = std::max(0.0, (squares - sum * sum / n) / (n - 1));
    variance += N * N * (1 - n / N) * deviation / n;
  }
  return variance;
}

} // namespace

Missed estimate_missed(std::vector<float> selected, std::span<const std::int32_t> pruned,
                       std::int64_t sample, std::mt19937_64& random,
                       const std::function<std::span<const float>(std::int32_t)>& score) {
  std::vector<Stratum> const strata = draw(pruned, sample, random);
  std::vector<Token> tokens;
  for (std::size_t h = 0; h < strata.size(); ++h)
    for (std::size_t b = 0; b < strata[h].drawn.size(); ++b)
      for (float s : score(strata[h].drawn[b]))
        tokens.push_back({s, double(strata[h].blocks) / double(strata[h].drawn.size()), h, b});
  std::ranges::sort(tokens, std::ranges::greater(), &Token::score);
  std::ranges::sort(selected);

  // Pruned tokens so far against the selected that the next one beats: r ends where they meet.
  Missed missed;
  double so_far = 0;
  std::size_t above = 0;
  for (; above < tokens.size(); ++above) {
    auto const beaten = std::ranges::lower_bound(selected, tokens[above].score) - selected.begin();
    so_far += tokens[above].weight;
    missed.tokens = std::max(missed.tokens, std::min(so_far, double(beaten)));
    if (so_far >= double(beaten))
      break;
  }
  missed.variance = variance_above(strata, std::span(tokens).first(above));
  return missed;
}

double normal_quantile(double confidence) {
  double low = 0, high = 40;
  for (int i = 0; i < 100; ++i) {
    double const middle = (low + high) / 2;
    (std::erf(middle / std::sqrt(2.0)) < confidence ? low : high) = middle;
  }
  return (low + high) / 2;
}

} // namespace hisa::tools
