#ifndef CRESOLVER_H
#define CRESOLVER_H

// The answer to a question for TXT records: its length, or minus one of the codes of h_errno. `server`, an IPv4 address in
// digits, is asked instead of the system's name servers unless it is null. All of the resolver's state is on the stack: any
// thread may ask.
int query_texts(const char *name, const char *server, unsigned short port, unsigned char *answer, int size);

#endif
