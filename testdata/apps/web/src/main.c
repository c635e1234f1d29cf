/* The server: one thread a connection, a line on standard output for every request, an orderly end on SIGTERM. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "http.h"
#include "log.h"
#include "page.h"

static const char *www = "/srv/www";
static volatile sig_atomic_t stopping;

static void on_signal(int signal) { stopping = signal; }

static void send_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) return; /* the visitor has gone */
        bytes += n;
        len -= (size_t)n;
    }
}

static void answer(int fd, int status, const char *type, const char *extra, const char *body, size_t len) {
    char head[512];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n", status,
                     http_reason(status), type, len, extra);
    send_all(fd, head, (size_t)n);
    send_all(fd, body, len);
}

static void refuse(int fd, int status) {
    const char *reason = http_reason(status);
    answer(fd, status, "text/plain; charset=utf-8", "", reason, strlen(reason));
}

/* Reads a file below www. The caller frees it; NULL when there is none. */
static char *read_file(const char *name, size_t *len) {
    char path[1024];
    if (snprintf(path, sizeof path, "%s%s", www, name) >= (int)sizeof path) return NULL;
    FILE *file = fopen(path, "rb");
    struct stat stat;
    if (!file) return NULL;
    char *text = NULL;
    if (!fstat(fileno(file), &stat) && S_ISREG(stat.st_mode) && (text = malloc((size_t)stat.st_size + 1))) {
        *len = fread(text, 1, (size_t)stat.st_size, file);
    }
    fclose(file);
    return text;
}

static const char *type_of(const char *path) {
    const char *dot = strrchr(path, '.');
    if (dot && !strcmp(dot, ".css")) return "text/css; charset=utf-8";
    if (dot && !strcmp(dot, ".svg")) return "image/svg+xml";
    return dot && !strcmp(dot, ".html") ? "text/html; charset=utf-8" : "application/octet-stream";
}

static int get_page(int fd) {
    size_t len = 0;
    char *template = read_file("/index.html", &len);
    if (!template) return refuse(fd, 500), 500;
    struct page page = {0};
    page_render(&page, template, len);
    free(template);
    int status = page.failed ? 500 : 200;
    if (page.failed) refuse(fd, 500);
    else answer(fd, 200, "text/html; charset=utf-8", "", page.text, page.len);
    page_free(&page);
    return status;
}

static int get_file(int fd, const char *path) {
    size_t len = 0;
    char *text = read_file(path, &len);
    if (!text) return refuse(fd, 404), 404;
    answer(fd, 200, type_of(path), "", text, len);
    free(text);
    return 200;
}

static int get_info(int fd) {
    char host[256] = "", text[512];
    gethostname(host, sizeof host - 1);
    int len = snprintf(text, sizeof text, "{\"name\":\"harbour-log\",\"version\":\"%s\",\"arch\":\"%s\",\"host\":\"%s\",\"entries\":%zu}\n",
                       VERSION, ARCH, host, log_count());
    answer(fd, 200, "application/json", "", text, (size_t)len);
    return 200;
}

static int post_entry(int fd, const struct http_request *request) {
    char ship[LOG_SHIP], event[16];
    if (http_field(request->body, request->body_len, "ship", ship, sizeof ship) ||
        http_field(request->body, request->body_len, "event", event, sizeof event) ||
        log_add(ship, strcmp(event, "left") ? LOG_ARRIVED : LOG_LEFT)) {
        return refuse(fd, 400), 400;
    }
    answer(fd, 303, "text/plain", "Location: /\r\n", "", 0);
    return 303;
}

static int route(int fd, const struct http_request *request) {
    if (!strcmp(request->method, "POST")) {
        return strcmp(request->path, "/log") ? (refuse(fd, 404), 404) : post_entry(fd, request);
    }
    if (strcmp(request->method, "GET")) return refuse(fd, 405), 405;
    if (!strcmp(request->path, "/")) return get_page(fd);
    if (!strcmp(request->path, "/api/info")) return get_info(fd);
    if (!strcmp(request->path, "/healthz")) return answer(fd, 200, "text/plain", "", "ok\n", 3), 200;
    return get_file(fd, request->path);
}

static void *serve(void *data) {
    int fd = (int)(long)data;
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    char bytes[HTTP_MAX_REQUEST];
    size_t len = 0, want = 0;
    while (len < sizeof bytes && (want == 0 || len < want)) {
        ssize_t n = recv(fd, bytes + len, sizeof bytes - len, 0);
        if (n <= 0) break;
        len += (size_t)n;
        want = http_length(bytes, len);
    }
    if (len > 0) {
        struct http_request request = {0};
        int status = http_parse(bytes, len, &request);
        if (status) refuse(fd, status);
        else status = route(fd, &request);
        printf("%s %s %d\n", request.method[0] ? request.method : "-", request.path[0] ? request.path : "-", status);
    }
    close(fd);
    return NULL;
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 64)) {
        fprintf(stderr, "harbour: cannot listen on port %d: %s\n", port, strerror(errno));
        exit(1);
    }
    socklen_t len = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &len);
    printf("harbour-log %s for %s listens on port %d\n", VERSION, ARCH, ntohs(address.sin_port));
    return fd;
}

/* For HEALTHCHECK: a scratch image has no other program to ask with. */
static int check(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char text[64] = "";
    const char *request = "GET /healthz HTTP/1.1\r\n\r\n";
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) return 1;
    send_all(fd, request, strlen(request));
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    close(fd);
    return n > 12 && !strncmp(text, "HTTP/1.1 200", 12) ? 0 : 1;
}

int main(int argc, char **argv) {
    const char *port_text = getenv("PORT");
    int port = port_text ? atoi(port_text) : 8080;
    if (getenv("WWW")) www = getenv("WWW");
    if (argc > 1 && !strcmp(argv[1], "--check")) return check(port);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int listener = listen_on(port);
    while (!stopping) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (fd < 0) continue; /* a signal, or a visitor who left the queue */
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd)) close(fd);
        else pthread_detach(thread);
    }
    printf("harbour-log ends on signal %d\n", (int)stopping);
    return 0;
}
