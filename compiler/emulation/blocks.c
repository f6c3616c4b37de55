/* A qemu plugin: how often each block of straight-line code ran in a window, with its instructions.
 *
 * The guest marks the window by a system call that no kernel has, number 0x5150: argument 1 begins one, 0 ends it
 * and writes a line a block to the file of the plugin's argument `out=PATH`: its address, how often it ran, and its
 * instructions, all in hexadecimal. Blocks that did not run are left out.
 *
 * The declarations are version 1 of qemu's documented plugin interface (docs/devel/tcg-plugins), of qemu 4.2 to 8;
 * qemu itself resolves them. For guests with one busy thread: nothing here is locked. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARKER 0x5150
#define WORD 4 /* bytes of an A64 instruction */

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info qemu_info;
typedef void (*translated_fn)(plugin_id, struct qemu_plugin_tb *);
typedef void (*syscall_fn)(plugin_id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                           uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
enum inline_operation { ADD_U64 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated_fn);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum inline_operation, void *, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, syscall_fn);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = 1;

struct block {
    struct block *next;
    uint64_t address, runs;
    size_t length;
    uint32_t words[];
};

static struct block *blocks; /* a block that is translated again is there twice; its lines add up */
static const char *path;

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
    size_t length = qemu_plugin_tb_n_insns(tb);
    struct block *block = malloc(sizeof *block + length * WORD);
    (void)id;
    if (!block) abort();
    block->next = blocks;
    block->address = qemu_plugin_tb_vaddr(tb);
    block->runs = 0;
    block->length = length;
    for (size_t i = 0; i < length; i++)
        memcpy(&block->words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), WORD);
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->runs, 1);
}

static void dump(void) {
    FILE *file = fopen(path, "w");
    if (!file) abort();
    for (const struct block *block = blocks; block; block = block->next) {
        if (!block->runs) continue;
        fprintf(file, "%llx %llx", (unsigned long long)block->address, (unsigned long long)block->runs);
        for (size_t i = 0; i < block->length; i++) fprintf(file, " %x", block->words[i]);
        fputc('\n', file);
    }
    if (fclose(file)) abort();
}

static void called(plugin_id id, unsigned vcpu, int64_t number, uint64_t begins, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != MARKER) return;
    if (!begins) dump();
    for (struct block *block = blocks; begins && block; block = block->next) block->runs = 0;
}

EXPORT int qemu_plugin_install(plugin_id id, const qemu_info *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) path = argv[i] + 4; /* qemu keeps it */
    if (!path) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
