// Loads a program once and starts it many times: preloaded, it waits before the program's `main`, and for every
// byte on standard input forks.  The child goes on as the program, without input and output; its number comes on
// standard output, and once it has ended its status and the memory it took, in KiB.
//
//   cc -O2 -shared -fPIC -o fork-server.so Scripts/fork-server.c
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int tells(const int *values, size_t size) { return write(STDOUT_FILENO, values, size) == (ssize_t)size; }

static void serve(void) {
  char byte;
  while (read(STDIN_FILENO, &byte, 1) == 1) {
    int child = fork();
    if (child == 0) {
      int nothing = open("/dev/null", O_RDWR);
      dup2(nothing, STDIN_FILENO), dup2(nothing, STDOUT_FILENO), close(nothing);
      return;
    }
    int status = 0;
    struct rusage usage;
    if (child < 0 || !tells(&child, sizeof(child)) || wait4(child, &status, 0, &usage) != child) break;
    int outcome[2] = {status, (int)usage.ru_maxrss};
    if (!tells(outcome, sizeof(outcome))) break;
  }
  _exit(0);
}

typedef int program(int, char **, char **);
typedef void function(void);

// The C library calls this when all libraries are loaded.
int __libc_start_main(
    program *main, int count, char **arguments, function *begin, function *end, function *leave, void *stack) {
  int (*start)(program *, int, char **, function *, function *, function *, void *) =
      dlsym(RTLD_NEXT, "__libc_start_main");
  serve();
  return start(main, count, arguments, begin, end, leave, stack);
}
