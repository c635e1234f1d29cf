#include "http.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int http_decode(const char *text, size_t len, char *out, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            if (i + 2 >= len || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return -1;
            c = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        }
        if (c == '\0' || used + 1 >= size) return -1;
        out[used++] = c;
    }
    out[used] = '\0';
    return 0;
}

int http_field(const char *form, size_t len, const char *name, char *out, size_t size) {
    size_t name_len = strlen(name);
    const char *end = form + len;
    while (form < end) {
        const char *next = memchr(form, '&', (size_t)(end - form));
        const char *stop = next ? next : end;
        if ((size_t)(stop - form) > name_len && !memcmp(form, name, name_len) && form[name_len] == '=') {
            const char *value = form + name_len + 1;
            return http_decode(value, (size_t)(stop - value), out, size);
        }
        form = next ? next + 1 : end;
    }
    return -1;
}

int http_safe_path(const char *path) {
    if (path[0] != '/') return 0;
    for (const char *p = path; *p; p++) {
        if (*p == '/' && p[1] == '.' && p[2] == '.' && (p[3] == '/' || p[3] == '\0')) return 0;
    }
    return 1;
}

/* The value of Content-Length in a head, 0 without one, -1 when it is no sensible number. */
static long body_length(const char *head, size_t len) {
    const char *line = head;
    const char *end = head + len;
    while (line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        if ((size_t)(stop - line) > 15 && !strncasecmp(line, "content-length:", 15)) {
            char *rest;
            long value = strtol(line + 15, &rest, 10);
            return value < 0 || value > HTTP_MAX_REQUEST ? -1 : value;
        }
        line = stop + 1;
    }
    return 0;
}

size_t http_length(const char *bytes, size_t len) {
    const char *end = memmem(bytes, len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - bytes) + 4;
    long body = body_length(bytes, head);
    return body < 0 ? head : head + (size_t)body;
}

int http_parse(const char *bytes, size_t len, struct http_request *out) {
    const char *end = memmem(bytes, len, "\r\n\r\n", 4);
    if (!end) return 400;
    size_t head = (size_t)(end - bytes) + 4;
    const char *space = memchr(bytes, ' ', head);
    if (!space || (size_t)(space - bytes) >= sizeof out->method) return 400;
    memcpy(out->method, bytes, (size_t)(space - bytes));
    out->method[space - bytes] = '\0';
    const char *path = space + 1;
    const char *stop = memchr(path, ' ', head - (size_t)(path - bytes));
    if (!stop) return 400;
    const char *query = memchr(path, '?', (size_t)(stop - path));
    if (http_decode(path, (size_t)((query ? query : stop) - path), out->path, sizeof out->path)) return 400;
    if (!http_safe_path(out->path)) return 400;
    long body = body_length(bytes, head);
    if (body < 0 || head + (size_t)body > len) return 413;
    out->body = bytes + head;
    out->body_len = (size_t)body;
    return 0;
}

const char *http_reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 303: return "See Other";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    default: return "Internal Server Error";
    }
}
