// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/// @file
/// Element types of queries and keys, and the one place where a new one is added.
#pragma once

#include <hisa/config.hpp>
#include <hisa/float16.hpp>
#include <hisa/float8.hpp>

#include <concepts>
#include <limits>
#include <type_traits>

HISA_NAMESPACE_BEGIN

/// All that the library knows of an element type `T`. To add a type, write a trivially copyable
/// storage struct and specialise this trait in namespace hisa, with every member that the concept
/// `ElementType` lists; nothing else changes:
///
/// - `quantised`: rows of T carry a scale each, and pooled rows get one of their own (fp8).
/// - `exact_products`: fp32 holds the product of any two values exactly, so that multiply and add
///   equals a fused multiply-add. Not bf16: its products can leave the range of fp32's normal
///   numbers.
/// - `max_finite`: the largest finite value; a quantised row is scaled to it.
/// - `name`: for messages and tables.
/// - `to_float(T)`: the exact value.
/// - `from_float(float)`: the nearest T, ties to even; beyond max_finite, infinity if T has one,
/// else
///   +-max_finite; NaN stays NaN.
/// - `is_finite(T)`: neither infinity nor NaN, decided on the bits.
/// - `nan()`: a code that is NaN.
template <class T>
struct Element;

/// A type for which `Element` is specialised.
template <class T>
concept ElementType = std::is_trivially_copyable_v<T> && requires(T element, float value) {
  requires std::same_as<decltype(Element<T>::quantised), const bool>;
  requires std::same_as<decltype(Element<T>::exact_products), const bool>;
  requires std::same_as<decltype(Element<T>::max_finite), const float>;
  { Element<T>::name } -> std::convertible_to<const char*>;
  { Element<T>::to_float(element) } -> std::same_as<float>;
  { Element<T>::from_float(value) } -> std::same_as<T>;
  { Element<T>::is_finite(element) } -> std::same_as<bool>;
  { Element<T>::nan() } -> std::same_as<T>;
};

template <>
struct Element<e4m3fn> {
  static constexpr bool quantised = true;
  static constexpr bool exact_products = true;
  static constexpr float max_finite = 448.0f;
  static constexpr const char* name = "e4m3fn";
  HISA_FUNCTION static constexpr float to_float(e4m3fn x) { return hisa::to_float(x); }
  HISA_FUNCTION static constexpr e4m3fn from_float(float x) { return e4m3fn_from_float(x); }
  HISA_FUNCTION static constexpr bool is_finite(e4m3fn x) { return (x.bits & 0x7fu) != 0x7fu; }
  HISA_FUNCTION static constexpr e4m3fn nan() { return {0x7f}; }
};

template <>
struct Element<e4m3fnuz> {
  static constexpr bool quantised = true;
  static constexpr bool exact_products = true;
  static constexpr float max_finite = 240.0f;
  static constexpr const char* name = "e4m3fnuz";
  HISA_FUNCTION static constexpr float to_float(e4m3fnuz x) { return hisa::to_float(x); }
  HISA_FUNCTION static constexpr e4m3fnuz from_float(float x) { return e4m3fnuz_from_float(x); }
  HISA_FUNCTION static constexpr bool is_finite(e4m3fnuz x) { return x.bits != 0x80u; }
  HISA_FUNCTION static constexpr e4m3fnuz nan() { return {0x80}; }
};

template <>
struct Element<bf16> {
  static constexpr bool quantised = false;
  static constexpr bool exact_products = false;
  static constexpr float max_finite = 0x1.fep127f;
  static constexpr const char* name = "bf16";
  HISA_FUNCTION static constexpr float to_float(bf16 x) { return hisa::to_float(x); }
  HISA_FUNCTION static constexpr bf16 from_float(float x) { return bf16_from_float(x); }
  HISA_FUNCTION static constexpr bool is_finite(bf16 x) { return (x.bits & 0x7f80u) != 0x7f80u; }
  HISA_FUNCTION static constexpr bf16 nan() { return {0x7fc0}; }
};

template <>
struct Element<fp16> {
  static constexpr bool quantised = false;
  static constexpr bool exact_products = true;
  static constexpr float max_finite = 65504.0f;
  static constexpr const char* name = "fp16";
  HISA_FUNCTION static constexpr float to_float(fp16 x) { return hisa::to_float(x); }
  HISA_FUNCTION static constexpr fp16 from_float(float x) { return fp16_from_float(x); }
  HISA_FUNCTION static constexpr bool is_finite(fp16 x) { return (x.bits & 0x7c00u) != 0x7c00u; }
  HISA_FUNCTION static constexpr fp16 nan() { return {0x7e00}; }
};

template <>
struct Element<float> {
  static constexpr bool quantised = false;
  static constexpr bool exact_products = false;
  static constexpr float max_finite = std::numeric_limits<float>::max();
  static constexpr const char* name = "float";
  HISA_FUNCTION static constexpr float to_float(float x) { return x; }
  HISA_FUNCTION static constexpr float from_float(float x) { return x; }
  HISA_FUNCTION static constexpr bool is_finite(float x) {
    return (detail::bits_of(x) & detail::fp32_infinity) != detail::fp32_infinity;
  }
  HISA_FUNCTION static constexpr float nan() { return detail::float_of(0x7fc00000u); }
};

HISA_NAMESPACE_END
