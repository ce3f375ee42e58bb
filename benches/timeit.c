/* timeit: times several commands by turns, so that whatever else the machine does falls on all of them alike.
 *
 *   timeit ROUNDS = NAME [@PREPARE] COMMAND [ARG...] [= NAME ...]
 *
 * Each round runs each command once; one round before is not counted. PREPARE, a shell command, runs untimed
 * before each. The clock runs from before the spawn until the command itself is waited for. CPU time is that of
 * the command and of all its descendants, orphans too: they are ours to reap, and waited for, untimed, for half a
 * second at most. Prints one JSON line a command: wall and CPU in milliseconds, the largest process's peak RSS in KiB,
 * the number of runs that failed and the last bad status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROWS 32
#define SETTLE_MS 500

extern char **environ;

struct row {
    const char *name, *prepare;
    char **command;
    double *wall, *cpu;
    long rss;
    int runs, failed, status;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double cpu_of(const struct rusage *use) {
    return (use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1e3 + (use->ru_utime.tv_usec + use->ru_stime.tv_usec) / 1e3;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void run(struct row *row, int counted) {
    posix_spawn_file_actions_t streams;
    posix_spawn_file_actions_init(&streams);
    posix_spawn_file_actions_addopen(&streams, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&streams, 1, "/dev/null", O_WRONLY, 0);
    const char *log = getenv("TIMEIT_STDERR");
    posix_spawn_file_actions_addopen(&streams, 2, log ? log : "/dev/null", O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (row->prepare && system(row->prepare) != 0) fprintf(stderr, "timeit: %s: `%s` failed\n", row->name, row->prepare);

    struct rusage use;
    int status;
    pid_t pid;
    double start = now();
    int error = posix_spawnp(&pid, row->command[0], &streams, 0, row->command, environ);
    posix_spawn_file_actions_destroy(&streams);
    if (error) {
        fprintf(stderr, "timeit: %s: %s\n", row->command[0], strerror(error));
        exit(2);
    }
    while (wait4(pid, &status, 0, &use) < 0 && errno == EINTR) {}
    double wall = now() - start, cpu = cpu_of(&use);
    struct rusage late;
    for (double end = now() + SETTLE_MS; now() < end;) {
        pid_t orphan = wait4(-1, NULL, WNOHANG, &late);
        if (orphan < 0) break;
        if (orphan > 0) cpu += cpu_of(&late);
        else usleep(2000);
    }

    if (status != 0) {
        row->failed++;
        row->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (counted) {
        row->wall[row->runs] = wall;
        row->cpu[row->runs++] = cpu;
        if (use.ru_maxrss > row->rss) row->rss = use.ru_maxrss;
    }
}

int main(int argc, char **argv) {
    static struct row rows[MAX_ROWS];
    int rounds = argc > 1 ? atoi(argv[1]) : 0, count = 0;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "=")) continue;
        if (i + 2 >= argc || count == MAX_ROWS) break;
        argv[i] = NULL; /* ends the command before */
        struct row *row = &rows[count++];
        row->name = argv[++i];
        if (argv[i + 1] && argv[i + 1][0] == '@') row->prepare = argv[++i] + 1;
        row->command = argv + i + 1;
        row->wall = calloc(rounds, sizeof(double));
        row->cpu = calloc(rounds, sizeof(double));
    }
    if (rounds < 1 || !count) return fprintf(stderr, "usage: timeit ROUNDS = NAME [@PREPARE] COMMAND... [= ...]\n"), 2;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int round = -1; round < rounds; round++)
        for (int i = 0; i < count; i++) run(&rows[i], round >= 0);
    for (int i = 0; i < count; i++) {
        struct row *row = &rows[i];
        printf("{\"name\":\"%s\",\"runs\":%d,\"failed\":%d,\"status\":%d", row->name, row->runs, row->failed, row->status);
        if (row->runs) {
            double wall = median(row->wall, row->runs), cpu = median(row->cpu, row->runs);
            printf(",\"median\":%.3f,\"min\":%.3f,\"max\":%.3f,\"cpu\":%.3f,\"rss\":%ld", wall, row->wall[0], row->wall[row->runs - 1], cpu, row->rss);
        }
        printf("}\n");
    }
}
