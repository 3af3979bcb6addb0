// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Pooling rules by name, as they stand on the command line: `mean`, `max`, `sub-mean:16`,
/// `moments:1.0`, `min-max`.
#pragma once

#include "safetensors.hpp"

#include <hisa/head_rules.hpp>
#include <hisa/row_rules.hpp>

#include <charconv>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace hisa::tools {

/// The rules that hisa-eval is compiled for.
template <class... Rules>
struct RuleList {};
using CompiledRules =
    RuleList<MeanPool, MaxPool, SubMeanPool<2>, SubMeanPool<4>, SubMeanPool<8>, SubMeanPool<16>,
             MomentsPool<1, 2>, MomentsPool<1>, MomentsPool<3, 2>, MomentsPool<2>, MinMaxPool>;

/// A rule's name with its parameter.
template <PoolingRule Rule>
std::string name_of() {
  if constexpr (requires { Rule::lambda; }) {
    int const tenths = static_cast<int>(Rule::lambda * 10 + 0.5f);
    return std::string(Rule::name) + ":" + std::to_string(tenths / 10) + "." +
           std::to_string(tenths % 10);
  }
  if (std::string(Rule::name) == SubMeanPool<1>::name)
    return std::string(Rule::name) + ":" + std::to_string(Rule::rows);
  return Rule::name;
}

namespace detail {

/// `kind:parameter` with the parameter as a number, so that `moments:1` is `moments:1.0`.
inline std::pair<std::string, double> parse_rule(const std::string& name) {
  std::size_t const colon = name.find(':');
  if (colon == std::string::npos)
    return {name, 0};
  double value = 0;
  char const* const end = name.data() + name.size();
  auto const parsed = std::from_chars(name.data() + colon + 1, end, value);
  return {name.substr(0, colon), parsed.ec == std::errc() && parsed.ptr == end ? value : -1};
}

template <class... Rules>
std::vector<std::string> names_of(RuleList<Rules...>) {
  return {name_of<Rules>()...};
}

template <class F, class... Rules>
void with_rule(const std::string& name, const F& f, RuleList<Rules...>) {
  auto const wanted = parse_rule(name);
  bool const found =
      ((parse_rule(name_of<Rules>()) == wanted && (f(std::type_identity<Rules>()), true)) || ...);
  if (!found) {
    std::string known;
    ((known += (known.empty() ? "" : ", ") + name_of<Rules>()), ...);
    throw BadInput("--pooling is " + quote(name) + ", expected one of " + known);
  }
}

} // namespace detail

/// The names of all rules.
inline std::vector<std::string> rule_names() {
  return detail::names_of(CompiledRules());
}

/// Calls f(std::type_identity<Rule>()) with the rule of a name.
/// @throws BadInput if there is none
template <class F>
void with_rule(const std::string& name, const F& f) {
  detail::with_rule(name, f, CompiledRules());
}

/// How many rows a rule makes of a block, and into how many parts it divides it.
struct RuleSize {
  int rows = 1, parts = 1;
};

/// @throws BadInput if there is no such rule
inline RuleSize size_of(const std::string& rule) {
  RuleSize size;
  with_rule(rule, [&]<class Rule>(std::type_identity<Rule>) {
    size = {Rule::rows, hisa::detail::parts_of<Rule>};
  });
  return size;
}

} // namespace hisa::tools
