/* The switch of scripts/cluster.sh: joins machines in network namespaces, and holds each frame back
 * for a time, which the kernel's netem would do where it has one.
 *
 *     cluster_switch N MICROSECONDS
 *
 * makes the devices slr1 ... slrN, whose frames arrive at the device with the last byte of their
 * address, 02:00:00:00:00:0N, or, sent to all, at all others. It says "ready" on stdout when they
 * exist, and runs until it is killed. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MACHINES = 16, FRAME = 1 << 16, FRAMES = 2048 };

/* A frame on its way; all take the same time, so that they leave in the order of their arrival. */
typedef struct frame {
    int64_t due;
    int from;
    ssize_t n;
    unsigned char *data; /* [FRAME] */
} frame;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int open_device(int i)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    snprintf(r.ifr_name, sizeof r.ifr_name, "slr%d", i);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) != 0) {
        perror(r.ifr_name);
        exit(1);
    }
    return fd;
}

static void deliver(const struct pollfd *device, int n, const frame *f)
{
    int to = f->data[0] == 2 ? f->data[5] : 0;
    for (int i = 1; i <= n; i++)
        if (i != f->from && (i == to || f->data[0] == 0xff))
            if (write(device[i - 1].fd, f->data, (size_t)f->n) < 0) continue; /* as a cable loses */
}

int main(int argc, char **argv)
{
    struct pollfd device[MACHINES];
    static frame queue[FRAMES];
    int n = argc == 3 ? atoi(argv[1]) : 0;
    int64_t delay = argc == 3 ? (int64_t)(1000 * atof(argv[2])) : -1;
    uint64_t first = 0, last = 0; /* [first, last) of the queue, modulo FRAMES */
    if (n < 1 || n > MACHINES || delay < 0) {
        fprintf(stderr, "cluster_switch N MICROSECONDS\n");
        return 2;
    }
    for (int i = 0; i < FRAMES; i++)
        if (!(queue[i].data = malloc(FRAME))) return 1;
    for (int i = 0; i < n; i++)
        device[i] = (struct pollfd){.fd = open_device(i + 1), .events = POLLIN};
    puts("ready");
    fflush(stdout);
    for (;;) {
        int64_t left = first < last ? queue[first % FRAMES].due - now() : 1000000000;
        struct timespec wait = {left / 1000000000, left > 0 ? left % 1000000000 : 0};
        if (left > 0) ppoll(device, (nfds_t)n, &wait, NULL);
        for (int i = 0; i < n; i++) {
            frame *f = &queue[last % FRAMES];
            if (last - first == FRAMES) break;
            if ((f->n = read(device[i].fd, f->data, FRAME)) < 14) continue;
            f->from = i + 1;
            f->due = now() + delay;
            last++;
        }
        for (; first < last && queue[first % FRAMES].due <= now(); first++)
            deliver(device, n, &queue[first % FRAMES]);
    }
}
