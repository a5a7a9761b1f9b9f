/* certs.h: certificates for tests, right ones and wrong ones, made while the
 * test runs. */
#ifndef TEST_UNIT_CERTS_H
#define TEST_UNIT_CERTS_H

#include <stdbool.h>

#define CERT_PEM 4096u

struct made_cert {
    char cert[CERT_PEM], key[CERT_PEM];
};

struct cert_wish {
    const char *subject;            /* "CN=..." */
    const char *names;              /* DNS names, a space between; NULL: none */
    const char *ip;                 /* NULL: none */
    const char *from, *until;       /* YYYYMMDDhhmmss; NULL: 2020, 2049 */
    const struct made_cert *issuer; /* NULL: itself */
    const char *issuer_name;        /* its subject */
    bool is_ca;
};

/* A failure ends the program. */
void make_cert(struct made_cert *made, const struct cert_wish *wish);

#endif
