// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.gpu.DeviceWork.Item;
import io.llmc.gpu.DeviceWork.Part;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/// Proves and measures the backend on a device: every case of the contract, twice; every operation
/// at full size against its floor; what copies reach.
///
///     java -cp JARS io.llmc.gpu.OnDevice FOLDER
///
/// It writes `gpu.md` into the folder and ends with 1 where anything was wrong. A kernel that fails
/// or hangs takes its process with it, so the work is done in another, and what comes next in a
/// fresh one. `-Dllmc.ondevice.seconds=280` limits the whole.
public final class OnDevice {
    /// Of one item: the driver compiles kernels in it, and the reference computes.
    private static final long SILENCE = 60;

    /// Processes that one group of items may take with it before the rest is left out.
    private static final int LOSSES = 2;

    private static final String END = "end";

    private final Map<String, String> environment;
    private final PrintStream out;
    private final long whole = TimeUnit.SECONDS.toNanos(Long.getLong("llmc.ondevice.seconds", 280));
    private final long end = System.nanoTime() + whole;

    /// Of the part that is running.
    private long deadline = end;

    /// @param environment more of it, for the processes
    OnDevice(Map<String, String> environment, PrintStream out) {
        this.environment = environment;
        this.out = out;
    }

    /// What became of an item; null answers were not reached.
    private record Outcome(String answer, String problem) {}

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        if (args.length == 4) {
            Set<String> without = Set.of(args[3].split(",", -1));
            System.exit(
                    DeviceWork.run(Part.valueOf(args[1]), Integer.parseInt(args[2]), without, out));
        }
        Path folder = Path.of(args.length == 0 ? "." : args[0]);
        System.exit(new OnDevice(Map.of(), out).report(folder));
    }

    /// @return 1 where anything was wrong
    int report(Path folder) throws IOException, InterruptedException {
        StringBuilder text = new StringBuilder();
        List<String> problems = new ArrayList<>();
        List<String> summary = new ArrayList<>();
        for (Part part : Part.values()) {
            long start = System.nanoTime();
            List<Item> items = DeviceWork.items(part);
            Outcome[] outcomes = run(part, items);
            int done = 0;
            text.append(head(part));
            for (int i = 0; i < outcomes.length; i++) {
                Outcome o = outcomes[i];
                boolean good = o != null && o.problem == null;
                done += good ? 1 : 0;
                if (!good) {
                    String why = o == null ? "was not reached" : o.problem;
                    problems.add(
                            "%s: %s: %s"
                                    .formatted(
                                            part.name().toLowerCase(), items.get(i).name(), why));
                } else if (part != Part.CASES) {
                    text.append("| %s | %s |\n".formatted(items.get(i).name(), o.answer));
                }
            }
            String count =
                    "%s: %d of %d, %d s"
                            .formatted(
                                    part.name().toLowerCase(),
                                    done,
                                    items.size(),
                                    TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - start));
            summary.add(count);
            text.append('\n').append(count).append("\n\n");
            // After every part, for what comes after may never end.
            Files.writeString(folder.resolve("gpu.md"), text + failures(problems));
        }
        out.print(text);
        out.print(failures(problems));
        summary.forEach(out::println);
        return problems.isEmpty() ? 0 : 1;
    }

    private static String failures(List<String> problems) {
        StringBuilder text = new StringBuilder("## What was wrong: ");
        text.append(problems.size()).append("\n\n");
        problems.forEach(p -> text.append("- ").append(p).append('\n'));
        return text.append('\n').toString();
    }

    private static String head(Part part) {
        return switch (part) {
            case DEVICE -> "## The device\n\n| | |\n|---|---|\n";
            case CASES -> "## Agreement with the reference, and of two runs\n";
            case TIMES ->
                    """
                    ## Times, with nothing in the cache

                    | operation | median, µs | fastest, µs | floor, µs | median / floor | waits for | runs |
                    |---|---|---|---|---|---|---|
                    """;
            case CEILINGS -> "## Ceilings\n\n| | |\n|---|---|\n";
        };
    }

    /// All items of a part, in as many processes as it takes.
    private Outcome[] run(Part part, List<Item> items) throws IOException, InterruptedException {
        Outcome[] outcomes = new Outcome[items.size()];
        Map<String, Integer> losses = new HashMap<>();
        Set<String> without = new TreeSet<>();
        int from = 0;
        // However many cases take their process with them, something is measured.
        deadline = part == Part.CASES ? Math.min(end, System.nanoTime() + whole / 2) : end;
        while (from < items.size() && System.nanoTime() < deadline) {
            int last = process(part, from, without, outcomes);
            if (last < 0) {
                break;
            }
            String group = items.get(last).group();
            if (losses.merge(group, 1, Integer::sum) >= LOSSES) {
                without.add(group);
                for (int i = last + 1; i < items.size(); i++) {
                    if (items.get(i).group().equals(group)) {
                        outcomes[i] = new Outcome(null, "left out after what came before");
                    }
                }
            }
            from = last + 1;
        }
        return outcomes;
    }

    /// @return the item that ended the process early, -1 for none
    private int process(Part part, int from, Set<String> without, Outcome[] outcomes)
            throws IOException, InterruptedException {
        Process process = start(part, from, without);
        BlockingQueue<String> lines = new LinkedBlockingQueue<>();
        Thread.ofVirtual().start(() -> read(process, lines));
        int current = -1;
        String trouble = "";
        try {
            while (true) {
                long left = TimeUnit.NANOSECONDS.toSeconds(deadline - System.nanoTime());
                String line = lines.poll(Math.clamp(left, 1, SILENCE), TimeUnit.SECONDS);
                if (line == null) {
                    trouble = left < SILENCE ? "out of time" : "hung for " + SILENCE + " s";
                    break;
                } else if (line.equals(END)) {
                    int code = process.waitFor();
                    if (code == 0) {
                        return -1;
                    }
                    trouble = "its process ended with " + code;
                    break;
                } else if (line.startsWith("> ")) {
                    current = Integer.parseInt(line.substring(2));
                } else if (line.startsWith("< ")) {
                    outcomes[current] = new Outcome(line.substring(2), null);
                } else if (line.startsWith("! ")) {
                    outcomes[current < 0 ? from : current] = new Outcome(null, line.substring(2));
                    out.println(part + ": " + line.substring(2));
                } else {
                    out.println(line);
                }
            }
        } finally {
            process.destroyForcibly();
        }
        if (current >= 0 && outcomes[current] == null) {
            outcomes[current] = new Outcome(null, trouble);
        }
        out.println("%s, item %d: %s".formatted(part, current, trouble));
        return current;
    }

    private Process start(Part part, int from, Set<String> without) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(ManagementFactory.getRuntimeMXBean().getInputArguments());
        command.addAll(List.of("-cp", System.getProperty("java.class.path")));
        command.addAll(List.of(OnDevice.class.getName(), "work", part.name()));
        command.addAll(List.of(String.valueOf(from), String.join(",", without)));
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().putAll(environment);
        return builder.start();
    }

    private static void read(Process process, BlockingQueue<String> lines) {
        try (BufferedReader reader =
                new BufferedReader(
                        new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                lines.add(line);
            }
        } catch (IOException e) {
            lines.add("its output broke off: " + e.getMessage());
        }
        lines.add(END);
    }
}
