/* Takes 300 MiB of memory that no mapping shows, in one of several ways, and holds them for some seconds. Prints `survived`
 * when nobody minded.
 *
 *   memory file       a memfd, written to
 *   memory thread     the same, in descriptors that a thread has for itself
 *   memory segment    System V segments, attached nowhere
 *   memory namespace  the same in an IPC namespace of its own
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#define BLOCK (60 << 20)
#define SECONDS 8

static char page[1 << 20];

static void in_file(void) {
  int file = memfd_create("large", 0);
  for (int i = 0; i < 300; i++)
    if (write(file, page, sizeof page) < 0) perror("write");
}

static void *in_thread(void *unused) {
  if (unshare(CLONE_FILES)) perror("unshare");
  in_file();
  sleep(SECONDS);
  return unused;
}

static void in_segments(void) {
  for (int i = 0; i < 5; i++) {
    int segment = shmget(IPC_PRIVATE, BLOCK, 0600);
    void *at = shmat(segment, 0, 0);
    if (at == (void *)-1) {
      perror("shmat");
      return;
    }
    memset(at, 1, BLOCK);
    shmdt(at);
  }
}

int main(int count, char **words) {
  const char *way = count > 1 ? words[1] : "";
  pthread_t thread;
  memset(page, 1, sizeof page);
  if (!strcmp(way, "file")) in_file();
  if (!strcmp(way, "thread")) pthread_create(&thread, 0, in_thread, 0);
  if (!strcmp(way, "segment")) in_segments();
  if (!strcmp(way, "namespace")) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWIPC)) perror("unshare");
    in_segments();
  }
  sleep(SECONDS);
  puts("survived");
}
