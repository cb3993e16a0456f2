# Counts the cases in what test programs wrote: reads TAP, alone or in the JUnit file of ctest
# (which knows how each program ended), and prints "passed failed skipped", then a line for each
# failure.
#
# A program that ctest counts as failed has at least one failed case, even if it wrote of none
# before it died. One that passed without writing of any case is a case itself, but a program of tests
# that did so has not come to them.

function start(name)
{
    program = name
    passed = failed = skipped = planned = 0
    delete seen
    program_failed = 0
}

function finish()
{
    if (program_failed && !failed) {
        failed = 1
        failures = failures "\n  " program ": the program failed after " passed + skipped \
            " of its " planned " cases"
    }
    if (!program_failed && whole_programs && !passed && !failed && !skipped) {
        if (program ~ /^(test|crash|fault)_/) {
            failed = 1
            failures = failures "\n  " program ": the program wrote of no case"
        } else {
            passed = 1
        }
    }
    all_passed += passed
    all_failed += failed
    all_skipped += skipped
}

function attribute(key)
{
    if (!match($0, " " key "=\"[^\"]*\"")) {
        return ""
    }
    return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 4)
}

BEGIN { start("") }

{ sub(/\r$/, "") }

/<testcase / {
    whole_programs = 1
    start(attribute("name"))
    program_failed = attribute("status") != "run"
}

{ sub(/^.*<system-out>/, "") }

/^1\.\.[0-9]+/ { planned += substr($0, 4) }

# A process that was forked from the program may write what it had not yet written: each line counts
# once.
/^(not )?ok [0-9]+/ && !($0 in seen) {
    seen[$0] = 1
    if (/# SKIP/) {
        skipped++
    } else if (/^not /) {
        failed++
        failures = failures "\n  " (program == "" ? "" : program ": ") $0
    } else {
        passed++
    }
}

/<\/testcase>/ { finish() }

END {
    if (!whole_programs) {
        finish()
    }
    printf "%d %d %d%s\n", all_passed, all_failed, all_skipped, failures
}
