# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The C++ blocks of a Markdown file as a program: each is the body of a function of its own, its #include
# lines come first. A block that begins with ```cpp is meant to be compiled.
/^```cpp$/ { inside = 1; body = body "\nvoid block_" ++blocks "() {\n#line " NR + 1 " \"" FILENAME "\"\n"; next }
/^```$/ && inside { inside = 0; body = body "}\n"; next }
inside && /^#include/ { includes = includes $0 "\n"; body = body "\n"; next }
inside { body = body $0 "\n" }
END { print includes "#include \"given.hpp\"\n" body }
