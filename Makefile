# Builds and installs the extension with PostgreSQL's own rules (PGXS). script/test runs every test by itself;
# here: make, make install, make installcheck (against the running server), make unit, lint, format.

EXTENSION = cache_sync
CACHE_SYNC_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" cache_sync.control)
INSTALL_PARTS := $(sort $(wildcard sql/install/*.sql))
DATA_built = cache_sync--$(CACHE_SYNC_VERSION).sql
DATA = $(wildcard sql/upgrade/cache_sync--*--*.sql)

MODULE_big = cache_sync
STAGES = capture queue worker publish refresh observe
OBJS := $(patsubst %.cpp,%.o,$(sort $(wildcard src/*.cpp $(STAGES:%=src/%/*.cpp))))
LUA_HEADER = build/cache_sync_lua.h
SHLIB_LINK = $(shell pkg-config --libs hiredis) -lstdc++

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
REGRESS_OPTS = --inputdir=. --load-extension=cache_sync
ISOLATION = $(patsubst test/isolation/specs/%.spec,%,$(sort $(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=cache_sync

EXTRA_CLEAN = build output_iso

# Bitcode for inlining into queries would want clang and gain nothing here.
override with_llvm := no

PG_CONFIG ?= $(firstword $(wildcard /usr/lib/postgresql/17/bin/pg_config) pg_config)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS appends with override, so plain assignment would be ignored from here on. Some of its flags are for C only, and
# PostgreSQL's headers are not clean under -Wextra, so they are read as system headers.
override CPPFLAGS := -Isrc -Ibuild -isystem $(shell $(PG_CONFIG) --includedir-server) \
	$(shell pkg-config --cflags hiredis) -D_GNU_SOURCE \
	-DCACHE_SYNC_VERSION='"$(CACHE_SYNC_VERSION)"' $(filter -D_FORTIFY_SOURCE=%,$(CPPFLAGS))
CACHE_SYNC_CXXFLAGS := $(filter-out -fexcess-precision=% -Wdate-time -Wdeclaration-after-statement \
	-Wmissing-prototypes -Wshadow=compatible-local,$(CXXFLAGS)) -std=c++20 -Wall -Wextra -Werror $(EXTRA_CXXFLAGS)
override CXXFLAGS = $(CACHE_SYNC_CXXFLAGS) -MMD -MP -MF build/dep/$(subst /,.,$*).d

$(OBJS): Makefile cache_sync.control | $(LUA_HEADER)
-include $(wildcard build/dep/*.d)

$(LUA_HEADER): src/publish/cache_sync.lua script/lib/embed.sh | build/dep
	script/lib/embed.sh kCacheSyncLua $< > $@.new
	mv $@.new $@

$(DATA_built): cache_sync.control $(INSTALL_PARTS)
	cat $(INSTALL_PARTS) > $@

# Unit tests of everything that needs no PostgreSQL; make unit SANITIZE=1 runs them with ASan and UBSan.
.PHONY: unit lint format
UNIT_BUILD = build/unit$(if $(SANITIZE),-sanitize)
unit: | build/dep
	cmake -S . -B $(UNIT_BUILD) -DSANITIZE=$(if $(SANITIZE),ON,OFF) > $(UNIT_BUILD).log 2>&1 || \
	  { cat $(UNIT_BUILD).log; exit 1; }
	cmake --build $(UNIT_BUILD)
	cd $(UNIT_BUILD) && ctest --output-on-failure

build/dep:
	mkdir -p $@

lint:
	PG_CONFIG='$(PG_CONFIG)' script/lib/lint.pl

format:
	clang-format -i $(wildcard src/*.h src/*.cpp $(STAGES:%=src/%/*.h) $(STAGES:%=src/%/*.cpp) test/unit/*.h test/unit/*.cpp \
	  demo/*.h demo/*.cpp bench/*.h bench/*.cpp)
