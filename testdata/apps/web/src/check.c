/* The tests of the parts that need no socket; the build stage runs them. */
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "log.h"
#include "page.h"

static int failures;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            failures++; \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
        } \
    } while (0)

static int parse(const char *text, struct http_request *request) { return http_parse(text, strlen(text), request); }

static void requests(void) {
    struct http_request r = {0};
    CHECK(parse("GET /a%20b?c=d HTTP/1.1\r\n\r\n", &r) == 0 && !strcmp(r.path, "/a b"));
    CHECK(parse("POST /log HTTP/1.1\r\nContent-Length: 3\r\n\r\na=b", &r) == 0 && r.body_len == 3);
    CHECK(parse("GET /../etc/passwd HTTP/1.1\r\n\r\n", &r) == 400);
    CHECK(parse("GET /%2e%2e/etc HTTP/1.1\r\n\r\n", &r) == 400);
    CHECK(parse("GET /%00 HTTP/1.1\r\n\r\n", &r) == 400);
    CHECK(parse("POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n", &r) == 413);
    CHECK(parse("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", &r) == 413);
    CHECK(parse("GARBAGE", &r) == 400);
}

static void forms(void) {
    char value[8];
    CHECK(http_field("a=1&ship=x+y", 12, "ship", value, sizeof value) == 0 && !strcmp(value, "x y"));
    CHECK(http_field("a=1", 3, "ship", value, sizeof value) == -1);
    CHECK(http_field("ship=too-long-a-name", 20, "ship", value, sizeof value) == -1);
}

static void pages(void) {
    CHECK(log_add("", LOG_ARRIVED) == -1);
    CHECK(log_add("<Vasa>", LOG_ARRIVED) == 0 && log_add("Fram", LOG_ARRIVED) == 0 && log_add("Fram", LOG_LEFT) == 0);
    CHECK(log_count() == 3 && log_in_harbour() == 1);
    struct page page = {0};
    const char *template = "{{count}} {{harbour}} {{entries}}{{unknown}}{{";
    page_render(&page, template, strlen(template));
    CHECK(page.text && strstr(page.text, "3 1 ") && strstr(page.text, "&lt;Vasa&gt; arrived") && strstr(page.text, "Fram left"));
    page_free(&page);
}

int main(void) {
    requests();
    forms();
    pages();
    printf("%s\n", failures ? "FAILED" : "all checks passed");
    return failures != 0;
}
