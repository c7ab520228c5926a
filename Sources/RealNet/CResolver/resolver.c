// The system's resolver, whose headers Swift would take for parts of whatever module includes them.

#include "CResolver.h"
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <string.h>

int query_texts(const char *name, const char *server, unsigned short port, unsigned char *answer, int size) {
    struct __res_state state;
    memset(&state, 0, sizeof state);
    if (res_ninit(&state) != 0) return -NO_RECOVERY;
    if (server) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        if (inet_pton(AF_INET, server, &address.sin_addr) != 1) {
            res_nclose(&state);
            return -NO_RECOVERY;
        }
        state.nscount = 1;
        state.nsaddr_list[0] = address;
    }
    state.retrans = 2;
    state.retry = 2;
    int count = res_nquery(&state, name, ns_c_in, ns_t_txt, answer, size);
    int code = state.res_h_errno;
    res_nclose(&state);
    return count >= 0 ? count : -(code > 0 ? code : NO_RECOVERY);
}
