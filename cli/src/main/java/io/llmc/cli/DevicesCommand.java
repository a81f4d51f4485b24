// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.BackendProvider.Device;
import io.llmc.backend.Op;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.terminal.Spelling;
import io.llmc.cli.terminal.Table;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
        List<String> names = Op.all().map(Class::getSimpleName).sorted().toList();
        Map<String, Object> json = new LinkedHashMap<>();
        json.put("devices", devices.stream().map(DevicesCommand::json).toList());
        if (ops) {
            json.put("ops", names);
        }
        String list =
                ops ? "\nevery usable device runs\n  " + String.join("\n  ", names) + "\n" : "";
        new Console(wiring, log.toVerbosity()).result(table + list, json);
        return ExitCode.OK;
    }

    private static Map<String, Object> json(Device device) {
        return Map.of(
                "name", device.name(),
                "usable", device.usable(),
                "description", Spelling.asFlags(device.description()));
    }
}
