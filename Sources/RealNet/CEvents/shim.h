#ifndef CEVENTS_SHIM_H
#define CEVENTS_SHIM_H
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif
