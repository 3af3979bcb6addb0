// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// libFuzzer target: any shape, budgets and options. Making a plan refuses them with a sentence, or
// the plan keeps its promises about the workspace.
#include <hisa/hisa.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

void require(bool ok, const char* what) {
  if (ok)
    return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// Numbers from the input; zeros behind its end.
class Numbers {
  const std::uint8_t* data_;
  std::size_t left_;

public:
  Numbers(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  template <class T>
  T next() {
    T value = 0;
    std::size_t const n = sizeof(T) < left_ ? sizeof(T) : left_;
    std::memcpy(&value, data_, n);
    data_ += n, left_ -= n;
    return value;
  }
  /// Most often a small number, so that some plans can be made.
  std::int64_t extent() {
    auto const kind = next<std::uint8_t>();
    return kind < 200 ? kind : kind < 230 ? next<std::int16_t>() : next<std::int64_t>();
  }
  int integer() { return static_cast<int>(extent()); }
};

/// In place of an execution space: plans are made here and never called.
struct Nowhere {
  using memory_space = Kokkos::HostSpace;
};

template <class LevelsT, class Source, class Strategy, class Keys>
void make(const hisa::Shape<>& shape, const hisa::Budgets& budgets, hisa::Options options) {
  using Plan =
      hisa::Plan<Nowhere, LevelsT, Source, Strategy, Keys, hisa::Shape<>, hisa::Portable<>>;
  try {
    std::size_t const bytes = Plan(Nowhere{}, shape, budgets, options).workspace_bytes();
    std::size_t const limit = options.workspace_limit;
    options.workspace_limit = 0;
    std::size_t const least = Plan(Nowhere{}, shape, budgets, options).workspace_bytes();
    require(least > 0 && bytes >= least, "a plan asks for less than one query takes");
    require(bytes == least || bytes <= limit, "a plan asks for more than its limit");
  } catch (const hisa::precondition_error& refusal) {
    require(std::strstr(refusal.what(), ", expected ") != nullptr, refusal.what());
  }
}

template <class LevelsT, class Source>
void make_all(const hisa::Shape<>& shape, const hisa::Budgets& budgets,
              const hisa::Options& options) {
  using Contiguous = hisa::ContiguousKeys<hisa::e4m3fn>;
  using Paged = hisa::PagedKeys<float>;
  make<LevelsT, Source, hisa::RadixSelect, Contiguous>(shape, budgets, options);
  make<LevelsT, Source, hisa::StreamSelect, Paged>(shape, budgets, options);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using hisa::dynamic, hisa::Levels, hisa::MeanPool;
  Numbers in(data, size);
  auto const kind = in.next<std::uint8_t>() % 5;
  hisa::Shape<> shape{.max_queries = in.extent(), .max_keys = in.extent()};
  shape.heads = in.integer(), shape.head_dim = in.integer();
  hisa::Budgets budgets;
  budgets.topk = in.integer();
  for (int l = in.next<std::uint8_t>() % 9; l > 0; --l)
    budgets.keep.push_back(in.integer());
  for (int l = in.next<std::uint8_t>() % 9; l > 0; --l)
    budgets.block_size.push_back(in.integer());
  hisa::Options options;
  options.boundary = static_cast<hisa::Boundary>(in.next<std::uint8_t>() % 3);
  options.index_base = static_cast<hisa::IndexBase>(in.next<std::uint8_t>() % 3);
  options.workspace_limit = static_cast<std::size_t>(in.extent());
  switch (kind) {
  case 0:
    make_all<Levels<>, MeanPool>(shape, budgets, options);
    break;
  case 1:
    make_all<Levels<128, 16>, MeanPool>(shape, budgets, options);
    break;
  case 2:
    make_all<Levels<dynamic>, hisa::CallerBlocks>(shape, budgets, options);
    break;
  case 3:
    make_all<Levels<dynamic, dynamic>, MeanPool>(shape, budgets, options);
    break;
  default:
    make_all<Levels<dynamic, 8, dynamic>, MeanPool>(shape, budgets, options);
  }
  return 0;
}
