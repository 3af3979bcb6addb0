// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Threads of the host that call one plan at the same time, each with its own stream and workspace,
// and get what a call alone gives.
#pragma once

#include "contract.hpp"
#include "scale.hpp"

#include <atomic>
#include <exception>
#include <thread>

namespace suite {

inline void calls_of_threads(const Case& c, int threads, int times) {
  struct Own {
    Inputs in;
    Result expected;
    std::vector<Outputs> out;
    Device<std::uint8_t> workspace;
    Stream stream;
    std::exception_ptr error;
  };
  Indexer const indexer(c);
  std::vector<std::unique_ptr<Own>> own;
  for (int i = 0; i < threads; ++i) { // a problem each, so that a mix-up shows
    Problem const p(c, unsigned(71 + i));
    Inputs in(p, c.levels);
    Result expected = indexer.select(in);
    check_contract(c, p, in, expected);
    own.push_back(std::make_unique<Own>(std::move(in), std::move(expected)));
    own.back()->workspace = Device<std::uint8_t>(indexer.workspace_bytes());
    for (int n = 0; n < times; ++n)
      own.back()->out.emplace_back(c.M, c.topk);
  }
  synchronize("the calls alone");
  std::atomic<int> waiting{threads};
  std::vector<std::thread> all;
  for (auto& mine : own)
    all.emplace_back([&waiting, &indexer, &mine] {
      --waiting;
      while (waiting > 0)
        std::this_thread::yield();
      try {
        for (const Outputs& out : mine->out)
          indexer(mine->stream.stream, mine->in, out.view(), mine->workspace);
      } catch (...) {
        mine->error = std::current_exception();
      }
    });
  for (std::thread& thread : all)
    thread.join();
  synchronize("the calls of threads");
  for (const auto& mine : own) {
    if (mine->error)
      std::rethrow_exception(mine->error);
    for (const Outputs& out : mine->out) {
      Result const got = out.host();
      for (std::int64_t t = 0; t < c.M; ++t)
        expect(same_row(got, t, mine->expected, t),
               c.text() + ": query " + std::to_string(t) + " of a thread");
    }
  }
}

inline void threads(const Scale& scale) {
  if (!scale.threads)
    return skip("threads: not at this scale");
  std::int64_t const M = scale.large ? 130 : 22, N = scale.large ? 5001 : 1501;
  int const k = scale.topk;
  for (const Case& c :
       {Case{.M = M, .N = N, .topk = k}, by_flat_kernel({.M = M, .N = N, .topk = k}, 2),
        by_sift_kernel({.M = M, .N = N, .topk = k}, 2),
        Case{.M = M, .N = N, .levels = {{128, 8}, {16, 40}}, .topk = k},
        Case{.M = M, .N = N, .levels = {{128, 30}}, .topk = k}, // by pairs
        Case{.M = M, .N = N, .levels = {{16, 64}}, .topk = k, .indexing = Indexing::refine}})
    item("calls of 4 threads (" + c.text() + ")",
         [&] { calls_of_threads(c, 4, scale.large ? 25 : 3); });
}

} // namespace suite
