// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.BackendProvider.Device;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Op;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.SparseOp;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.terminal.Spelling;
import io.llmc.cli.terminal.Table;
import io.llmc.model.Tape;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

@Command(
        name = "devices",
        mixinStandardHelpOptions = true,
        addMethodSubcommands = false,
        sortOptions = false,
        description = "Lists devices, and why those that cannot be used cannot.",
        footer = {"", "Example:", "  llmc devices --ops"})
final class DevicesCommand implements Callable<Integer> {
    private static final Set<Class<? extends Op>> FORWARD =
            Set.of(ForwardOp.class, RecurrentOp.class, SparseOp.class, CompressedOp.class);

    private final Wiring wiring;
    private final LogOptions log;

    @Option(names = "--ops", description = "List the operations, too.")
    private boolean ops;

    DevicesCommand(Wiring wiring, LogOptions log) {
        this.wiring = wiring;
        this.log = log;
    }

    @Override
    public Integer call() {
        List<Device> devices = wiring.devices().all();
        Table table = new Table("lll");
        devices.forEach(d ->
                table.row(
                        d.name(),
                        d.usable() ? "usable" : "not usable",
                        Spelling.asFlags(d.description())));
        List<Class<? extends Op>> all =
                Op.all().sorted(Comparator.comparing(Class::getSimpleName)).toList();
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("devices", devices.stream().map(DevicesCommand::json).toList());
        if (ops) {
            json.put("ops", all.stream().map(DevicesCommand::json).toList());
        }
        String list = ops ? "\n" + list(all) : "";
        new Console(wiring, log.toVerbosity()).result(table + list, json);
        return ExitCode.OK;
    }

    private static Table list(List<Class<? extends Op>> all) {
        Table table = new Table("llll");
        table.row("operation", "CPU", "CUDA", "gradient");
        all.forEach(op ->
                table.row(
                        op.getSimpleName(),
                        "yes",
                        hasKernel(op) ? "yes" : "no",
                        isForward(op) ? hasRule(op) ? "yes" : "no" : ""));
        return table;
    }

    private static boolean hasKernel(Class<? extends Op> op) {
        return !Op.ON_CPU_ALONE.contains(op);
    }

    /// Whether a forward pass of whole sequences runs it.
    private static boolean isForward(Class<? extends Op> op) {
        return op != RecurrentOp.ResumeConvolve.class
                && FORWARD.stream().anyMatch(family -> family.isAssignableFrom(op));
    }

    private static boolean hasRule(Class<? extends Op> op) {
        return Tape.hasRule(op);
    }

    private static Map<String, Object> json(Class<? extends Op> op) {
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("name", op.getSimpleName());
        json.put("cpu", true);
        json.put("cuda", hasKernel(op));
        if (isForward(op)) {
            json.put("gradient", hasRule(op));
        }
        return json;
    }

    private static Map<String, Object> json(Device device) {
        return Map.of(
                "name", device.name(),
                "usable", device.usable(),
                "description", Spelling.asFlags(device.description()));
    }
}
