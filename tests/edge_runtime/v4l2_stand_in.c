/* Stands in for a V4L2 driver: preloaded, it answers open and ioctl of $STAND_IN_DEVICE as a webcam's driver does, with
   the structures of the kernel's own header. Frames are the files $STAND_IN_FRAMES/0, 1, ...; behind the last the camera
   is unplugged. $STAND_IN_FORMAT is what it offers, as four characters. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 3, LENGTH = 1 << 16, WIDTH = 32, HEIGHT = 24, PADDING = 16, DAMAGED = 1 };

static int camera = -1, streaming, frame, queued[BUFFERS], count;

static int open_camera(void) {
    camera = memfd_create("camera", 0);
    streaming = frame = count = 0;
    return ftruncate(camera, BUFFERS * LENGTH) ? -1 : camera;
}

static int opened(const char *symbol, const char *path, int flags, mode_t mode) {
    const char *device = getenv("STAND_IN_DEVICE");
    if (device && !strcmp(path, device)) return open_camera();
    int (*original)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, symbol);
    return original(path, flags, mode);
}

#define OPEN(name)                                  \
    int name(const char *path, int flags, ...) {    \
        va_list rest;                               \
        va_start(rest, flags);                      \
        mode_t mode = va_arg(rest, mode_t);         \
        va_end(rest);                               \
        return opened(#name, path, flags, mode);    \
    }
OPEN(open)
OPEN(open64)

static int fails(int error) {
    errno = error;
    return -1;
}

static __u32 fourcc(void) {
    const char *text = getenv("STAND_IN_FORMAT");
    return v4l2_fourcc(text[0], text[1], text[2], text[3]);
}

static int capability(struct v4l2_capability *found) {
    memset(found, 0, sizeof *found);
    found->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_DEVICE_CAPS;
    found->device_caps = getenv("STAND_IN_METADATA") ? V4L2_CAP_META_CAPTURE | V4L2_CAP_STREAMING
                                                     : V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    return 0;
}

static int format(struct v4l2_format *wanted) {
    struct v4l2_pix_format *pixels = &wanted->fmt.pix;
    if (pixels->width != 640 || pixels->height != 480 || pixels->pixelformat != fourcc()) return fails(EINVAL);
    pixels->width = WIDTH;
    pixels->height = HEIGHT;
    pixels->bytesperline = fourcc() == V4L2_PIX_FMT_YUYV ? 2 * WIDTH + PADDING : 0;
    pixels->quantization = V4L2_QUANTIZATION_DEFAULT;
    return 0;
}

static int fill(struct v4l2_buffer *buffer) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", getenv("STAND_IN_FRAMES"), frame);
    FILE *file = fopen(path, "rb");
    if (!file || !streaming || !count) return fails(file ? EINVAL : ENODEV);
    char bytes[LENGTH];
    buffer->index = queued[0];
    buffer->bytesused = fread(bytes, 1, LENGTH, file);
    buffer->flags = frame++ == DAMAGED ? V4L2_BUF_FLAG_ERROR : 0;
    fclose(file);
    memmove(queued, queued + 1, --count * sizeof *queued);
    return pwrite(camera, bytes, buffer->bytesused, buffer->index * LENGTH) < 0 ? -1 : 0;
}

static int answer(unsigned request, void *argument) {
    struct v4l2_buffer *buffer = argument;
    struct v4l2_fmtdesc *offered = argument;
    switch (request) {
    case VIDIOC_QUERYCAP: return capability(argument);
    case VIDIOC_ENUM_FMT:
        if (offered->index || offered->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return fails(EINVAL);
        offered->pixelformat = fourcc();
        return 0;
    case VIDIOC_S_FMT: return format(argument);
    case VIDIOC_REQBUFS:
        ((struct v4l2_requestbuffers *)argument)->count = BUFFERS;
        return 0;
    case VIDIOC_QUERYBUF:
        buffer->length = LENGTH;
        buffer->m.offset = buffer->index * LENGTH;
        return 0;
    case VIDIOC_QBUF:
        if (buffer->memory != V4L2_MEMORY_MMAP || count == BUFFERS) return fails(EINVAL);
        queued[count++] = buffer->index;
        return 0;
    case VIDIOC_DQBUF: return fill(buffer);
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        streaming = request == VIDIOC_STREAMON && *(int *)argument == V4L2_BUF_TYPE_VIDEO_CAPTURE;
        return 0;
    }
    return fails(ENOTTY);
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (descriptor == camera && camera >= 0) return answer((unsigned)request, argument);
    int (*original)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    return original(descriptor, request, argument);
}
