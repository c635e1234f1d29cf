/* Requests and answers: just enough of HTTP/1.1 for one page, one form and two machine-readable paths. */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>

enum { HTTP_MAX_REQUEST = 16384, HTTP_MAX_PATH = 512 };

struct http_request {
    char method[8];
    char path[HTTP_MAX_PATH]; /* decoded, without the query */
    const char *body;
    size_t body_len;
};

/* Parses a whole request. 0, or the HTTP status that refuses it. */
int http_parse(const char *bytes, size_t len, struct http_request *out);

/* How many bytes the request will have, once its head is there; 0 while it is not. */
size_t http_length(const char *bytes, size_t len);

/* Decodes %41 and + in place of what they stand for. -1 when the text is malformed or too long. */
int http_decode(const char *text, size_t len, char *out, size_t size);

/* The decoded value of a form field; -1 when the form has no such field. */
int http_field(const char *form, size_t len, const char *name, char *out, size_t size);

/* Whether a path stays below the folder that it is appended to. */
int http_safe_path(const char *path);

const char *http_reason(int status);

#endif
