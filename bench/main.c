/* kin-bench [--json] [NAME-PREFIX]: prints a line a figure: name, value, unit, the limit measured
   in the same run, and the ratio of the two, separated by tabs; "-" where there is no limit. */
#include "bench/bench.h"

#include <kin/kin.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first are measured while the arena is as a program finds it. */
static const benchmark *const tables[] = {
    memory_benchmarks, arena_benchmarks, process_benchmarks, pool_benchmarks,  sync_benchmarks,
    shared_benchmarks, queue_benchmarks, pipe_benchmarks,    table_benchmarks, shm_benchmarks};

static int compare(const void *a, const void *b)
{
    double x = *(const double *) a;
    double y = *(const double *) b;
    return (x > y) - (x < y);
}

double bench_median(double *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, compare);
    return count % 2 != 0 ? samples[count / 2] : (samples[count / 2 - 1] + samples[count / 2]) / 2;
}

double bench_now_ns(void)
{
    return (double) kin_clock_ns();
}

static void print_text(const benchmark *b, const figure *f)
{
    if (f->limit > 0) {
        printf("%s\t%.4g\t%s\t%.4g\t%.3f\n", b->name, f->value, b->unit, f->limit,
               f->value / f->limit);
    } else {
        printf("%s\t%.4g\t%s\t-\t-\n", b->name, f->value, b->unit);
    }
}

static void print_json(const benchmark *b, const figure *f, bool first)
{
    printf("%s  {\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", ", first ? "" : ",\n",
           b->name, f->value, b->unit);
    if (f->limit > 0) {
        printf("\"limit\": %.6g, \"ratio\": %.4f}", f->limit, f->value / f->limit);
    } else {
        printf("\"limit\": null, \"ratio\": null}");
    }
}

static int run_all(const char *prefix, bool json)
{
    int failed = 0;
    int printed = 0;
    int skipped = 0;
    if (json) {
        printf("[\n");
    }
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const benchmark *b = tables[t]; b->name != NULL; b++) {
            if (strncmp(b->name, prefix, strlen(prefix)) != 0) {
                continue;
            }
            figure f = {0};
            int status = b->measure(&f);
            if (status == KIN_E_UNSUPPORTED) {
                fprintf(stderr, "%s: not on this system\n", b->name);
                skipped++;
                continue;
            }
            if (status < 0) {
                fprintf(stderr, "%s: %s (%s)\n", b->name, kin_strerror(status),
                        kin_error_name(status));
                failed++;
                continue;
            }
            if (json) {
                print_json(b, &f, printed == 0);
            } else {
                print_text(b, &f);
            }
            printed++;
            fflush(stdout);
        }
    }
    if (json) {
        printf("\n]\n");
    }
    if (printed + skipped + failed == 0) {
        fprintf(stderr, "no benchmark begins with \"%s\"\n", prefix);
        failed++;
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], BENCH_EXIT) == 0) {
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], BENCH_PRIVATE) == 0) {
        return bench_tell_private();
    }
    int status = kin_init(&argc, &argv);
    if (status < 0) {
        fprintf(stderr, "kin_init: %s (%s)\n", kin_strerror(status), kin_error_name(status));
        return EXIT_FAILURE;
    }
    bool json = false;
    const char *prefix = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (argv[i][0] == '-') {
            fprintf(stderr, "usage: kin-bench [--json] [NAME-PREFIX]\n");
            return EXIT_FAILURE;
        } else {
            prefix = argv[i];
        }
    }
    return run_all(prefix, json);
}
