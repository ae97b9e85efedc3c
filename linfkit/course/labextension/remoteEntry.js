// JupyterLab's part: plotly's outputs are drawn by explorer.js if they are linfkit's, else by plotly;
// playgrounds by the script of their kind, from the data in their HTML.
// A module of the kind that JupyterLab loads, written by hand, so that nothing has to be built.
"use strict";
{
  const MIME = "application/vnd.plotly.v1+json", WIDGET = "application/vnd.jupyter.widget-view+json";
  const PLAYGROUND = "application/vnd.linfkit.playground+json";
  const here = document.currentScript.src;
  const explorer = import(new URL("explorer.js", here));

  let shared;
  const module_of_lab = async (name) => (await Object.values(shared[name])[0].get())();

  const extension = ({ PanelLayout, Widget }, { IRenderMimeRegistry }, { mount, page }) => {
    /** Draws what is linfkit's: it has a description, or room for sliders. */
    class Renderer extends Widget {
      constructor(plotlys, options) {
        super();
        Object.assign(this, { plotlys, options });
      }
      async renderModel(model) {
        const figure = model.data[MIME], { description, room } = figure.layout?.meta ?? {};
        if (!description && !room) {
          if (!this.layout) {
            this.layout = new PanelLayout();
            this.layout.addWidget(this.plotlys.createRenderer(this.options));
          }
          return this.layout.widgets[0].renderModel(model);
        }
        this.view?.dispose();
        this.view = mount(this.node, figure, plotly(this.plotlys), model.data[WIDGET]?.model_id);
      }
      dispose() {
        this.view?.dispose();
        super.dispose();
      }
    }

    class PlaygroundRenderer extends Widget {
      async renderModel(model) {
        const html = [model.data["text/html"]].flat().join("");
        const given = new DOMParser().parseFromString(html, "text/html").querySelector("script[type='application/json']");
        const { play } = await import(new URL(`${model.data[PLAYGROUND].kind}.js`, here));
        play(this.node, JSON.parse(given.textContent));
      }
    }

    /** Plotly's module, which its renderer's class has once it has drawn something. */
    const plotly = (plotlys) => (page.plotly ??= (async () => {
      const renderer = plotlys.createRenderer({ mimeType: MIME });
      await renderer.renderModel({ data: { [MIME]: { data: [], layout: {} } } });
      return renderer.constructor.Plotly;
    })());

    return {
      id: "linfkit:figures",
      autoStart: true,
      requires: [IRenderMimeRegistry],
      activate: (app, registry) => {
        const playgrounds = () => new PlaygroundRenderer();
        registry.addFactory({ safe: true, mimeTypes: [PLAYGROUND], createRenderer: playgrounds }, -20);
        app.started.then(() => { // when plotly's renderer is there, and no notebook yet
          const plotlys = registry.getFactory(MIME);
          if (!plotlys) return;
          const createRenderer = (options) => new Renderer(plotlys, options);
          // before the widget's own view, which is dead without a kernel
          registry.addFactory({ safe: true, mimeTypes: [MIME], createRenderer }, -20);
        });
      },
    };
  };

  (globalThis._JUPYTERLAB ??= {}).linfkit = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const names = ["@lumino/widgets", "@jupyterlab/rendermime"];
      const parts = await Promise.all([...names.map(module_of_lab), explorer]);
      return () => ({ __esModule: true, default: extension(...parts) });
    },
  };
}
