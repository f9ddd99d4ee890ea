() => {
  // Browsers hand a dropped folder over as one file without content, which Gradio would upload. Drop the files of a run
  // that lie in it instead.
  const wanted = new Set(["config.yaml", "policy.safetensors", "srm.safetensors"]);
  const filesIn = (folder) =>
    new Promise((resolve, reject) => folder.createReader().readEntries(resolve, reject)).then((entries) =>
      Promise.all(
        entries
          .filter((entry) => entry.isFile && wanted.has(entry.name))
          .map((entry) => new Promise((resolve, reject) => entry.file(resolve, reject))),
      ),
    );
  document.addEventListener(
    "drop",
    async (event) => {
      const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.());
      const folder = entries.find((entry) => entry?.isDirectory);
      if (!folder) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      const dropped = new DataTransfer();
      for (const file of await filesIn(folder)) dropped.items.add(file);
      if (!dropped.files.length) dropped.items.add(new File([], folder.name)); // which the page refuses in words
      event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: dropped }));
    },
    true,
  );
}
