#include "floor.h"

#include <dlfcn.h>
#include <errno.h>

/* The loader finds the library and its functions: this must be the very code that hashlib calls, and
 * OpenSSL's headers need not be installed. Opaque types of OpenSSL's are void here. */
static struct {
    void *(*md_ctx_new)(void);
    void (*md_ctx_free)(void *context);
    const void *(*sha256)(void);
    int (*init)(void *context, const void *type, void *engine);
    int (*update)(void *context, const void *data, size_t size);
    int (*final)(void *context, unsigned char *digest, unsigned *size);
} evp;

const char *floor_hash_open(const char *libcrypto)
{
    const struct {
        void *function;
        const char *name;
    } wanted[] = {
        {&evp.md_ctx_new, "EVP_MD_CTX_new"}, {&evp.md_ctx_free, "EVP_MD_CTX_free"},
        {&evp.sha256, "EVP_sha256"},         {&evp.init, "EVP_DigestInit_ex"},
        {&evp.update, "EVP_DigestUpdate"},   {&evp.final, "EVP_DigestFinal_ex"},
    };
    void *library = dlopen(libcrypto, RTLD_NOW | RTLD_LOCAL);
    size_t i;

    if (!library)
        return dlerror();
    for (i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        /* ISO C has no conversion from void * to a function; POSIX stores it like this. */
        if (!(*(void **)wanted[i].function = dlsym(library, wanted[i].name)))
            return dlerror();
    return NULL;
}

static int hash(int fd, struct floor_report *report)
{
    char buffer[FLOOR_BLOCK];
    void *context = evp.md_ctx_new();
    ssize_t got = 0;
    int good = context && evp.init(context, evp.sha256(), NULL);

    while (good && (got = floor_read(fd, buffer, sizeof buffer, report)) > 0)
        good = evp.update(context, buffer, (size_t)got);
    good = good && evp.final(context, report->digest, NULL);
    evp.md_ctx_free(context);
    return good ? (int)got : floor_fail(report, "EVP_Digest", ENOTSUP);
}

int floor_hash(char *const argv[], long runs, struct floor_report *report)
{
    return floor_drained(argv, runs, hash, report);
}
