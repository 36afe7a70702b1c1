# solera. `make help` lists the targets; build/<variant>/ holds what is built.
VARIANT ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
BUILD := build/$(VARIANT)
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
PACKAGES := openblas hdf5 yaml-0.1 libpcre2-8 libutf8proc jansson zlib
VERSION := $(shell sed -n 's/^\#define SOL_VERSION "\(.*\)"/\1/p' src/solera.h)
# MPI=0 builds without, MPI=1 insists on it; by default mpicc decides.
MPI ?= $(if $(shell command -v mpicc 2>/dev/null),1,0)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wvla
WARN += $(if $(WERROR),-Werror)
# Functions and lines, for backtraces and profiles; variables are in the debug build.
CFLAGS_release := -O3 -g1
CFLAGS_asan := -O2 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan := -O2 -g1 -fsanitize=thread
CFLAGS_cov := -O0 -g --coverage -fprofile-update=atomic
CFLAGS_debug := -O0 -g
CFLAGS_arm64 := -O2 -g -static
CFLAGS_fuzz := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ifeq ($(origin CFLAGS_$(VARIANT)),undefined)
$(error VARIANT=$(VARIANT) is no build: release, asan, tsan, cov or debug)
endif
ARCH_x86_64 := -march=x86-64-v2
ARCH_aarch64 := -march=armv8-a

# A line for each file that is made; V=1 shows the commands, -s nothing.
Q := $(if $(V),,@)
SAY := @$(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,printf '  %-4s %s\n')

# -ffp-contract=off: no fused multiply-add unless the code says so, so that every compiler gives the same bits.
CPPFLAGS := $(CPPFLAGS) -Isrc -D_GNU_SOURCE $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
# What mpicc would add to a call of the compiler.
ifeq ($(MPI),1)
MPI_FLAGS := $(wordlist 2,99,$(shell mpicc -show 2>/dev/null))
CPPFLAGS += -DSOL_MPI $(patsubst -I%,-isystem %,$(filter -I%,$(MPI_FLAGS)))
endif
# -fPIC: the objects of libsolera.a are those of libsolera.so.
ALL_CFLAGS := -std=c11 $(WARN) -ffp-contract=off -fPIC -fno-semantic-interposition $(ARCH_$(ARCH)) $(CFLAGS_$(VARIANT)) $(CFLAGS)
LIBS := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null) $(filter -L% -l% -Wl%,$(MPI_FLAGS)) -lpthread -lm

LIB_SRC := $(wildcard src/*/*.c)
KERNELS := $(if $(filter x86_64,$(ARCH)),x86)$(if $(filter aarch64,$(ARCH)),arm)
KERNEL_SRC := $(if $(KERNELS),$(wildcard src/kernels/$(KERNELS)/*.c))
LIB_SRC += $(KERNEL_SRC)
TRAIN_SRC := $(wildcard train/*.c)
TEST_SRC := $(wildcard tests/test_*.c)
TEST_HELP_SRC := $(filter-out $(TEST_SRC),$(wildcard tests/*.c))
CHECKKERN_KERNEL_SRC := $(if $(KERNELS),$(wildcard tests/checkkern/$(KERNELS)/*.c))
CHECKKERN_SRC := $(wildcard tests/checkkern/*.c) $(CHECKKERN_KERNEL_SRC)

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_OBJ := $(call obj,$(LIB_SRC))
TRAIN_OBJ := $(call obj,$(TRAIN_SRC))
TRAIN_LIB_OBJ := $(filter-out $(BUILD)/train/main.o,$(TRAIN_OBJ))
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN := $(patsubst tests/%.c,$(BUILD)/tests/%,$(FUZZ_SRC))
FUZZ_SECONDS ?= 60
MEMCHECK := codec store_h5
# Test programs that start no thread, which the linker sees to, and those that hold results of threads which others start, too, against
# those of other programs, as checkkern does against C: nothing for the build that looks for races.
SINGLE := config config_finish dataset elementwise faults float_ops ggml gguf gguf_keys golden_configs hf_config import_llama2c numbers \
    store store_corrupt store_h5 store_space study_file study_report sweep teacher_cache tokenizer tokenizer_files tokenizer_gguf \
    tokenizer_golden train_ops
ORACLES := golden_families golden_llamacpp golden_torch qat_oracle
TEST_BIN := $(patsubst tests/%.c,$(BUILD)/tests/%,$(if $(filter tsan,$(VARIANT)),$(filter-out $(patsubst %,tests/test_%.c,$(SINGLE) $(ORACLES)),$(TEST_SRC)),$(TEST_SRC)))
TEST_BIN += $(if $(filter tsan,$(VARIANT)),,$(BUILD)/tests/checkkern/checkkern)
# The shared library, whose ABI changes with the second number while the first is 0.
ABI := $(basename $(VERSION))
LIBSO := $(BUILD)/libsolera.so.$(VERSION)
# What `make test` needs built, beside the test programs themselves.
TEST_NEEDS := $(BUILD)/solera $(LIBSO) $(BUILD)/tests/cli/held $(BUILD)/tests/example

# Objects of the tests are kept, not treated as intermediate files.
.SECONDARY: $(call obj,$(TEST_SRC) $(TEST_HELP_SRC) $(FUZZ_SRC))
.PHONY: all mpi-note help deps test test-arm64 demo layers form format clean run-tests run-demo need-deps fuzz run-fuzz static memcheck cov run-cov FORCE install uninstall deb

all: $(BUILD)/solera mpi-note ## build the program (the default)

mpi-note:
	@[ "$(MPI)" = 1 ] || echo "built without MPI: jobs run in one process (mpicc, of Debian's libopenmpi-dev, brings it)"

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  VARIANT=release|asan|tsan|cov|debug chooses the build (now: $(VARIANT)); V=1 shows commands"

deps: ## install what is missing (Debian, Ubuntu: through apt; elsewhere it names the packages)
	@scripts/deps.sh install

need-deps:
	@scripts/deps.sh check || scripts/deps.sh install

# Compiles with all processors, unless -j says with how many.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

test: need-deps ## build and run all tests
	@$(MAKE) --no-print-directory $(JOBS) run-tests

demo: need-deps ## the main job on the embedded model, from nothing, in about 3 minutes
	@$(MAKE) --no-print-directory $(JOBS) run-demo

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
install: $(BUILD)/solera $(LIBSO) ## program, library, manual, completions, examples to DESTDIR, PREFIX (/usr/local)
	@BUILD=$(BUILD) VERSION=$(VERSION) LIBS='$(LIBS)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' CC='$(CC)' scripts/install.sh

uninstall: ## remove what install wrote, from the same DESTDIR and PREFIX
	@PREFIX='$(PREFIX)' scripts/install.sh remove

deb: $(BUILD)/solera $(LIBSO) ## a package for this Debian or Ubuntu: build/solera_VERSION_ARCH.deb
	@BUILD=$(BUILD) VERSION=$(VERSION) scripts/deb.sh

fuzz: ## run every libFuzzer target for FUZZ_SECONDS (60); needs clang
	@command -v clang >/dev/null || { echo "fuzz: clang is missing (Debian: clang)"; exit 1; }
	@$(MAKE) --no-print-directory VARIANT=fuzz CC=clang run-fuzz

static: ## static checks: cppcheck and clang-tidy over src and train, clean
	@CPPFLAGS='$(CPPFLAGS)' scripts/static.sh

memcheck: $(BUILD)/solera $(MEMCHECK:%=$(BUILD)/tests/test_%) ## a small job and some test programs under valgrind
	@BUILD=$(BUILD) scripts/memcheck.sh $(MEMCHECK)

cov: ## line coverage of src by the tests: report in build/cov/lines.txt, at least COV_LINES (90) %
	@$(MAKE) --no-print-directory VARIANT=cov run-cov

layers: ## check that every module includes lower layers only
	@scripts/check_layers.sh

form: ## check the layout of the code; `make format` lays it out
	@scripts/check_form.sh

format: ## lay the code out (clang-format 14)
	@clang-format -i $$(find src train tests scripts -name '*.[ch]')

clean: ## remove everything that was built
	rm -rf build

ARM_CC ?= aarch64-linux-gnu-gcc
ARM_EMULATOR ?= qemu-aarch64
test-arm64: ## cross-build the kernels for arm64 and check them under qemu-user
	@for t in $(ARM_CC) $(ARM_EMULATOR); do command -v $$t >/dev/null || \
	    { echo "test-arm64: $$t is missing (scripts/deps.sh arm64 gets it on Debian and Ubuntu)"; exit 1; }; done
	@$(MAKE) --no-print-directory VARIANT=arm64 CC=$(ARM_CC) PKG_CONFIG=false build/arm64/tests/checkkern/checkkern
	$(ARM_EMULATOR) build/arm64/tests/checkkern/checkkern

run-tests: $(TEST_NEEDS) $(TEST_BIN)
	@BUILD=$(BUILD) CC='$(CC)' CPPFLAGS='$(CPPFLAGS)' tests/run.sh $(TEST_BIN)

run-fuzz: $(FUZZ_BIN) $(BUILD)/tests/fuzz/make_seeds
	@BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ_SRC))

COV_LINES ?= 90
run-cov: $(TEST_NEEDS) $(TEST_BIN)
	@command -v gcovr >/dev/null || { echo "cov: gcovr is missing (Debian: gcovr)"; exit 1; }
	@find $(BUILD) -name '*.gcda' -delete
	@BUILD=$(BUILD) tests/run.sh $(TEST_BIN)
	@gcovr --root . --filter src/ --gcov-ignore-parse-errors --sort-percentage --txt $(BUILD)/lines.txt --fail-under-line $(COV_LINES) $(BUILD)
	@tail -n 4 $(BUILD)/lines.txt

DEMO_STEPS ?= 80
run-demo: $(BUILD)/solera
	@scripts/demo.sh $(BUILD)/solera runs/demo $(DEMO_STEPS)

$(BUILD)/solera: $(BUILD)/train/main.o $(TRAIN_LIB_OBJ) $(BUILD)/libsolera.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libsolera.a: $(LIB_OBJ)
	@rm -f $@
	$(SAY) AR $@
	$(Q)$(AR) rcs $@ $^

# Exported is what a public header names: functions and data; names of types there do no harm.
$(BUILD)/libsolera.map: $(wildcard src/*.h src/*/*.h src/*/*.def)
	@mkdir -p $(@D)
	@{ echo 'SOLERA_$(ABI) {'; echo 'global:'; \
	    $(CC) -E $(CPPFLAGS) src/solera.h | grep -o '\bsol_[a-z0-9_]*' | sort -u | sed 's/$$/;/'; \
	    echo 'local: *;'; echo '};'; } >$@

$(LIBSO): $(LIB_OBJ) $(BUILD)/libsolera.map
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -shared -Wl,-soname,libsolera.so.$(ABI) \
	    -Wl,--version-script,$(BUILD)/libsolera.map -o $@ $(LIB_OBJ) $(LIBS)

# Calls of the C library that tests/test_faults.c makes fail.
WRAPPED := posix_memalign pwrite write fsync fdatasync rename symlink fopen opendir pread read ftruncate mmap open pcre2_jit_compile_8 pcre2_jit_stack_create_8
LINK_faults := $(WRAPPED:%=-Wl,--wrap=%)
# What tests/test_docs.c counts.
LINK_docs := -Wl,--wrap=sol_tokenizer_cut_word
$(SINGLE:%=$(BUILD)/tests/test_%): LINK_SINGLE := -Wl,--wrap=pthread_create

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(call obj,$(TEST_HELP_SRC)) $(TRAIN_LIB_OBJ) $(BUILD)/libsolera.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(LINK_$*) $(LINK_SINGLE) -o $@ $^ $(shell $(PKG_CONFIG) --libs check) $(LIBS)

# The program with a brake: tests/cli/held.c says what for.
HELD_CALLS := open write pwrite fsync ftruncate rename symlink unlink mkdir
$(BUILD)/tests/cli/held: $(BUILD)/tests/cli/held.o $(TRAIN_OBJ) $(BUILD)/libsolera.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(HELD_CALLS:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

# The program in the comment of the umbrella header: tests/headers.sh runs it.
$(BUILD)/tests/example.c: src/solera.h tests/samples.awk
	@mkdir -p $(@D)
	@awk -f tests/samples.awk $< | grep -v '^#line' >$@
$(BUILD)/tests/example: $(BUILD)/tests/example.c $(BUILD)/libsolera.a
	$(SAY) LINK $@
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# checkkern needs no library but libc: what multiplies through BLAS or reads through zlib or jansson stays out.
CHECKKERN_LIB := $(filter-out %/kernels/gemm.c %/kernels/factor.c %/kernels/gemm_stored.c %/base/json.c %/base/textio.c,$(filter src/base/% src/kernels/%,$(LIB_SRC)))
$(BUILD)/tests/checkkern/checkkern: $(call obj,$(CHECKKERN_SRC) $(CHECKKERN_LIB))
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lpthread -lm

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/tiny.o $(BUILD)/libsolera.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/fuzz/make_seeds: $(call obj,tests/fuzz/make_seeds.c tests/fuzz/tiny.c) $(BUILD)/libsolera.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Kernels: one feature of the processor a file, by the suffix of its name; the flags stand in the feature's row.
FEATURES := src/base/cpu_features.def
feature_flags = $(shell awk -v feature=$(lastword $(subst _, ,$*)) -f scripts/feature_flags.awk $(FEATURES))
$(call obj,$(KERNEL_SRC) $(CHECKKERN_KERNEL_SRC)): KERNEL_CFLAGS = $(feature_flags)
$(call obj,$(KERNEL_SRC) $(CHECKKERN_KERNEL_SRC)): $(FEATURES) scripts/feature_flags.awk

# Made anew when the commit, or whether MPI is there, is another one.
$(BUILD)/commit: NOW = $(COMMIT)
$(BUILD)/mpi: NOW = $(MPI)
$(BUILD)/commit $(BUILD)/mpi: FORCE
	@mkdir -p $(@D)
	@echo '$(NOW)' | cmp -s - $@ || echo '$(NOW)' >$@
FORCE:
$(BUILD)/train/cmd_version.o: $(BUILD)/commit
$(BUILD)/src/dist/dist_mpi.o: $(BUILD)/mpi
$(BUILD)/train/cmd_version.o: CPPFLAGS += -DSOL_COMMIT='"$(COMMIT)"' -DSOL_VARIANT='"$(VARIANT)"'

# What the tests compute is small, what they compile is not; nor what the address sanitizer makes of the kernels.
$(call obj,$(TEST_SRC) $(TEST_HELP_SRC)): OPTIMIZE = $(if $(filter release asan tsan,$(VARIANT)),-O1)
$(call obj,src/kernels/float_c.c $(KERNEL_SRC)): OPTIMIZE = $(if $(filter asan,$(VARIANT)),-O1)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(KERNEL_CFLAGS) $(OPTIMIZE) -MMD -MP -c -o $@ $<

-include $(patsubst %.o,%.d,$(LIB_OBJ) $(TRAIN_OBJ) $(call obj,$(TEST_SRC) $(TEST_HELP_SRC) $(CHECKKERN_SRC) $(wildcard tests/cli/*.c tests/fuzz/*.c)))
