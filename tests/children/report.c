/* report OUT: write down everything a process can see of itself, one "key value" per line, to the
 * file OUT ("-" is standard output). Bytes are in hex, so that every byte arrives as it was. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Without /proc every number below this is tried; the highest a test opens is 1500. */
#define HIGHEST_FD 4096

extern char **environ;

static int open_fds[HIGHEST_FD];
static int open_count;

/* Taken before anything is opened here, so that the list holds what exec left and nothing else. */
static void list_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) {
        for (int fd = 0; fd < HIGHEST_FD; fd++)
            if (fcntl(fd, F_GETFD) >= 0)
                open_fds[open_count++] = fd;
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] != '.' && fd != dirfd(dir) && open_count < HIGHEST_FD)
            open_fds[open_count++] = fd;
    }
    closedir(dir);
}

static void hex_line(FILE *out, const char *key, const char *bytes)
{
    fprintf(out, "%s ", key);
    for (; *bytes; bytes++)
        fprintf(out, "%02x", (unsigned char)*bytes);
    fputc('\n', out);
}

static void write_descriptors(FILE *out)
{
    for (int i = 0; i < open_count; i++) {
        struct stat st;
        int fd = open_fds[i];
        if (fstat(fd, &st) < 0)
            continue;
        fprintf(out, "fd %d %d %d %u %llu %llu %llu\n", fd, fcntl(fd, F_GETFD), fcntl(fd, F_GETFL),
                st.st_mode, (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
                (unsigned long long)st.st_rdev);
    }
}

/* Raw calls: the C library hides signals 32 and 33, which it keeps for itself. */
static void write_signals(FILE *out)
{
    struct {
        void (*handler)(int);
        unsigned long rest[16];
    } action;
    unsigned long long mask = 0, ignored = 0, caught = 0;

    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
    for (int sig = 1; sig <= 64; sig++) {
        memset(&action, 0, sizeof action);
        if (syscall(SYS_rt_sigaction, sig, NULL, &action, 8) < 0)
            continue;
        if (action.handler == SIG_IGN)
            ignored |= 1ULL << (sig - 1);
        else if (action.handler != SIG_DFL)
            caught |= 1ULL << (sig - 1);
    }
    fprintf(out, "mask %llx\nignored %llx\ncaught %llx\n", mask, ignored, caught);
}

int main(int argc, char **argv)
{
    char cwd[8192] = "";
    mode_t mask = umask(0);
    int pdeathsig = 0;

    if (argc < 2)
        return 125;
    list_descriptors();
    umask(mask);
    FILE *out = strcmp(argv[1], "-") ? fopen(argv[1], "we") : stdout;
    if (!out)
        return 124;

    fprintf(out, "pid %d\nppid %d\npgid %d\nsid %d\n", getpid(), getppid(), getpgid(0), getsid(0));
    fprintf(out, "umask %u\nnice %d\n", mask, getpriority(PRIO_PROCESS, 0));
    fprintf(out, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
    fprintf(out, "pdeathsig %d\n", prctl(PR_GET_PDEATHSIG, &pdeathsig) == 0 ? pdeathsig : -1);
    hex_line(out, "cwd", getcwd(cwd, sizeof cwd) ? cwd : "");
    for (int i = 0; i < argc; i++)
        hex_line(out, "arg", argv[i]);
    for (char **entry = environ; *entry; entry++)
        hex_line(out, "env", *entry);
    write_descriptors(out);
    write_signals(out);
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        if (getrlimit(resource, &limit) == 0)
            fprintf(out, "rlimit %d %llu %llu\n", resource, (unsigned long long)limit.rlim_cur,
                    (unsigned long long)limit.rlim_max);
    }
    return fclose(out) ? 123 : 0;
}
