// postgres.h for C++: it renames the printf family by macros, and the C++ library does not compile under
// these.
#pragma once

extern "C" {
#include "postgres.h"
}

#undef fprintf
#undef printf
#undef snprintf
#undef sprintf
#undef strerror
#undef strerror_r
#undef vfprintf
#undef vprintf
#undef vsnprintf
#undef vsprintf
