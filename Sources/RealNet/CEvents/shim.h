#ifndef CEVENTS_SHIM_H
#define CEVENTS_SHIM_H
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

// glibc 2.28; its header shows it to GNU sources only.
int renameat2(int old_folder, const char *old_name, int new_folder, const char *new_name, unsigned int flags);
#endif
