/* What a board of TVM's RPC runs of ours: it starts job.py, which lies in the session's folder with all that it needs,
 * in a process of its own, with the Python that the server runs in.
 *
 * TVM's calling convention: a function NAME is the symbol __tvm_ffi_NAME, see tvm/ffi/c_api.h. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tvm/ffi/c_api.h>

enum { NO_ARGUMENTS = 1001, NO_PROCESS = 1002, NO_END = 1003 }; /* beside exit statuses; tracker.py knows them */

/* The program of this process as it was called: its file would be the system's Python, without a venv's packages. */
static const char *python(void) {
  static char command[4096];
  FILE *file = fopen("/proc/self/cmdline", "rb");
  size_t length = file ? fread(command, 1, sizeof command - 1, file) : 0;
  if (file) fclose(file);
  command[length] = 0;
  return length ? command : "python3";
}

static void become(const char *command, const char *folder) {
  const struct rlimit none = {0, 0};
  char *arguments[] = {(char *)command, "job.py", NULL};
  setpgid(0, 0);
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* when the session ends before us */
#endif
  setrlimit(RLIMIT_CORE, &none);
  if (chdir(folder)) _exit(126);
  for (int file = 3; file < 256; file++) close(file); /* the session's connection among them */
  execvp(command, arguments);
  _exit(127);
}

static int64_t milliseconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1000 * (int64_t)now.tv_sec + now.tv_nsec / 1000000;
}

/* (folder, milliseconds that it may take) -> the exit status, 128 more than the signal that ended it, or one of ours. */
static int run_job(const char *folder, int64_t milliseconds) {
  const char *command = python();
  const int64_t end = milliseconds_now() + milliseconds;
  int status;
  pid_t child = fork();
  if (child < 0) return NO_PROCESS;
  if (!child) become(command, folder);
  while (!waitpid(child, &status, WNOHANG)) {
    const struct timespec pause = {0, 5000000};
    if (milliseconds_now() > end) {
      kill(-child, SIGKILL);
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return NO_END;
    }
    nanosleep(&pause, NULL);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((visibility("default"))) int __tvm_ffi_edgec_job(void *self, const TVMFFIAny *args, int32_t count,
                                                               TVMFFIAny *result) {
  int known = count == 2 && args[0].type_index == kTVMFFIRawStr && args[1].type_index == kTVMFFIInt;
  (void)self;
  result->type_index = kTVMFFIInt;
  result->zero_padding = 0;
  result->v_int64 = known ? run_job(args[0].v_c_str, args[1].v_int64) : NO_ARGUMENTS;
  return 0;
}
