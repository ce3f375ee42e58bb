/* floor: the least that a rootless start over an overlay has to do, and the least that joining one has to do.
 *
 *   floor [--full] [--print-pid] LOWER[:LOWER...] SCRATCH COMMAND [ARG...]
 *   floor --join PID COMMAND [ARG...]
 *
 * A start: one clone3 with user, mount, pid, ipc and uts name spaces; ids; private mounts; a durable overlay in
 * SCRATCH; /proc; a /dev of six nodes; pivot_root; exec. Ids are the caller's own, or with --full also the
 * subordinate ranges of $SUBID_BASE (100000) and $SUBID_COUNT (65536) by newuidmap and newgidmap side by side.
 * A join: one setns through a pidfd, then the command as a child.
 * --print-pid prints the inner process's pid as seen outside, for --join.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
#define must(call, what) do { if ((call) < 0) fail(what); } while (0)

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(111);
}

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) fail(path);
    close(fd);
}

static int wait_for(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) fail("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t map_helper(const char *program, pid_t pid, unsigned own) {
    char *base = getenv("SUBID_BASE") ?: "100000", *count = getenv("SUBID_COUNT") ?: "65536", target[16], mine[16];
    snprintf(target, sizeof target, "%d", pid);
    snprintf(mine, sizeof mine, "%u", own);
    char *command[] = {(char *)program, target, "0", mine, "1", "1", base, count, 0};
    pid_t helper;
    if ((errno = posix_spawnp(&helper, program, 0, 0, command, environ))) fail(program);
    return helper;
}

static int join(pid_t target, char **command) {
    int pidfd = syscall(SYS_pidfd_open, target, 0);
    must(pidfd, "pidfd_open");
    must(setns(pidfd, NAMESPACES), "setns");
    must(chdir("/"), "chdir /");
    pid_t pid = vfork();
    must(pid, "vfork");
    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    return wait_for(pid);
}

static void mount_overlay(const char *lower, const char *scratch) {
    char options[8192];
    if (mkdir(scratch, 0700) < 0 && errno != EEXIST) fail(scratch);
    must(chdir(scratch), scratch);
    mkdir("upper", 0755);
    mkdir("work", 0755);
    mkdir("root", 0755);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=upper,workdir=work,userxattr", lower);
    must(mount("overlay", "root", "overlay", 0, options), "overlay");
    must(chdir("root"), "root");
}

static void mount_dev(void) {
    static const char *nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=64k"), "tmpfs on /dev");
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        char from[32], to[32];
        snprintf(from, sizeof from, "/dev/%s", nodes[i]);
        snprintf(to, sizeof to, "dev/%s", nodes[i]);
        int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
        must(fd, to);
        close(fd);
        must(mount(from, to, 0, MS_BIND, 0), to);
    }
    must(symlink("/proc/self/fd", "dev/fd"), "dev/fd");
}

static void inside(int full, int go, const char *lower, const char *scratch, char **command) {
    static char *environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root", 0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (full) {
        char byte;
        must(read(go, &byte, 1), "the maps"); /* ends when the parent closes its end */
        must(setresgid(0, 0, 0), "setresgid");
        must(setresuid(0, 0, 0), "setresuid");
    }
    must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private /");
    mount_overlay(lower, scratch);
    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), "proc");
    mount_dev();
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "detach the old root");
    must(chdir("/"), "chdir /");
    execvpe(command[0], command, environment);
    fail(command[0]);
}

int main(int argc, char **argv) {
    int full = 0, print_pid = 0, at = 1, go[2];
    if (argc > 3 && !strcmp(argv[1], "--join")) return join(atoi(argv[2]), argv + 3);
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (!strcmp(argv[at], "--full")) full = 1;
        else if (!strcmp(argv[at], "--print-pid")) print_pid = 1;
        else return fprintf(stderr, "floor: unknown option %s\n", argv[at]), 2;
    }
    if (argc - at < 3) return fprintf(stderr, "usage: floor [--full] [--print-pid] LOWER SCRATCH COMMAND...\n"), 2;

    unsigned uid = getuid(), gid = getgid();
    struct clone_args how = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    must(pipe2(go, O_CLOEXEC), "pipe2");
    pid_t pid = syscall(SYS_clone3, &how, sizeof how);
    must(pid, "clone3");
    if (pid == 0) {
        close(go[1]);
        if (!full) {
            char map[32];
            put("/proc/self/setgroups", "deny");
            snprintf(map, sizeof map, "0 %u 1", uid);
            put("/proc/self/uid_map", map);
            snprintf(map, sizeof map, "0 %u 1", gid);
            put("/proc/self/gid_map", map);
        }
        inside(full, go[0], argv[at], argv[at + 1], argv + at + 2);
    }
    if (full) {
        pid_t users = map_helper("newuidmap", pid, uid), groups = map_helper("newgidmap", pid, gid);
        if (wait_for(users) | wait_for(groups)) {
            kill(pid, SIGKILL);
            return fprintf(stderr, "floor: newuidmap or newgidmap failed\n"), 111;
        }
    }
    close(go[0]);
    close(go[1]);
    if (print_pid) {
        printf("%d\n", pid);
        fflush(stdout);
    }
    return wait_for(pid);
}
