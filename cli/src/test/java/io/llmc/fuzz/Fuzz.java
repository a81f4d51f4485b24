// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/// Reads what no honest tool writes: seeded, so that a case is the same everywhere and for ever.
///
/// Every case must end in a result or in one sentence with exit code 1 or 2, within a processor's
/// time and an amount of memory; see [Kind] and [Watchdog]. Exit code 1 where one did not.
public final class Fuzz {
    static final Path TESTDATA = Path.of("testdata");

    private static final Set<String> OPTIONS =
            Set.of("--cases", "--seed", "--kind", "--case", "--from", "--save", "--marker");

    private final Map<String, String> given = new HashMap<>();

    private Fuzz(String... args) {
        for (int i = 0; i < args.length; i += 2) {
            if (!OPTIONS.contains(args[i]) || i + 1 == args.length) {
                throw new IllegalArgumentException(
                        "%s: expected a value behind each of %s".formatted(args[i], OPTIONS));
            }
            given.put(args[i], args[i + 1]);
        }
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        Locale.setDefault(Locale.ROOT);
        System.exit(new Fuzz(args).run(System.out) == 0 ? 0 : 1);
    }

    static List<Kind> kinds() {
        return Stream.of(
                        ModelKinds.all(),
                        PackedKinds.all(),
                        TextKinds.all(),
                        LeftKinds.all(),
                        CommandKinds.all(),
                        List.of(Tokenizers.kind()))
                .flatMap(List::stream)
                .toList();
    }

    private long number(String option, long absent) {
        String text = given.get(option);
        return text == null ? absent : Long.parseLong(text.replace("_", ""));
    }

    private List<Kind> chosen() {
        List<String> names = List.of(given.getOrDefault("--kind", "").split(",", -1));
        List<Kind> chosen =
                kinds().stream()
                        .filter(kind -> !given.containsKey("--kind") || names.contains(kind.name()))
                        .toList();
        if (chosen.isEmpty()) {
            throw new IllegalArgumentException(
                    "--kind is none of " + kinds().stream().map(Kind::name).toList());
        }
        return chosen;
    }

    /// @return findings
    private int run(PrintStream out) throws IOException, InterruptedException {
        long seed = number("--seed", 1);
        List<Kind> chosen = chosen();
        Path work = Files.createTempDirectory("llmc-fuzz");
        Path saved = Path.of(given.getOrDefault("--save", work.resolve("findings").toString()));
        Campaign campaign =
                new Campaign(seed, saved, out, new Watchdog(seed, saved, out, marker(work)));
        long only = number("--case", -1);
        long cases = only < 0 ? number("--cases", 100_000) : 1;
        int shares = chosen.stream().mapToInt(Kind::share).sum();
        long all = 0;
        for (Kind kind : chosen) {
            long from = only < 0 ? number("--from", 0) : only;
            long to = from + Math.ceilDiv(cases * kind.share(), shares);
            all += to - from;
            if (kind.mayCrash() && !given.containsKey("--marker")) {
                Child child = new Child(kind, seed, saved, marker(work));
                campaign.add(kind, child.run(from, to, out));
            } else {
                Path directory = Files.createDirectory(work.resolve(kind.name()));
                Kind.Reader reader = kind.opening().open(directory);
                out.println(campaign.run(kind, reader, from, to));
            }
        }
        campaign.counts();
        if (!given.containsKey("--marker")) {
            out.printf(
                    "%,d cases, seed %d: %d findings; resident at most %s%n",
                    all, seed, campaign.findings(), resident());
        }
        return campaign.findings();
    }

    private Path marker(Path work) {
        return Path.of(given.getOrDefault("--marker", work.resolve("marker").toString()));
    }

    private static String resident() throws IOException {
        Path status = Path.of("/proc/self/status");
        if (!Files.exists(status)) {
            return "unknown";
        }
        try (Stream<String> lines = Files.lines(status)) {
            return lines.filter(line -> line.startsWith("VmHWM:"))
                    .map(line -> line.substring("VmHWM:".length()).strip())
                    .findFirst()
                    .orElse("unknown");
        }
    }
}
